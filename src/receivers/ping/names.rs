//! Slugs: Healthchecks names a check in an address by lower-case letters, digits, hyphens and underscores.

use std::sync::Arc;

use crate::model::ProjectId;
use crate::store::{Store, StoreError};

/// How many agents are looked at in one step.
const PAGE: usize = 1000;

/// What Healthchecks makes of a name: lower case, what is no letter, digit, hyphen or underscore left out, spaces turned to
/// hyphens.
pub fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.trim().chars() {
        let c = if c.is_whitespace() { '-' } else { c.to_ascii_lowercase() };
        let doubled = c == '-' && slug.ends_with('-');
        if (c.is_ascii_alphanumeric() || c == '-' || c == '_') && !doubled {
            slug.push(c);
        }
    }
    slug.trim_matches(['-', '_']).to_owned()
}

/// Agents of the project whose slug this is: none, the one, or two when it is ambiguous. Only asked for names that no agent
/// has as they stand.
pub async fn with_slug(store: &dyn Store, project: ProjectId, wanted: &str) -> Result<Vec<Arc<str>>, StoreError> {
    let mut found: Vec<Arc<str>> = Vec::new();
    if wanted.is_empty() || slug(wanted) != wanted {
        return Ok(found);
    }
    let mut offset = 0;
    loop {
        let page = store.agents(project, offset, PAGE).await?;
        found.extend(page.rows.iter().filter(|row| slug(&row.key.name) == wanted).map(|row| row.key.name.clone()));
        offset += page.rows.len();
        if found.len() > 1 || page.rows.is_empty() || offset as u64 >= page.total {
            found.truncate(2);
            return Ok(found);
        }
    }
}
