//! What is summed up by agent while the spans of a trace are gone through: mostly each is of the same agent as the last.

use std::sync::Arc;

/// Values by agent, in the order of the names.
pub(super) struct ByAgent<T> {
    entries: Vec<(Arc<str>, T)>,
    /// The place of the agent that was asked for last.
    last: usize,
}

impl<T> Default for ByAgent<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), last: 0 }
    }
}

impl<T: Default> ByAgent<T> {
    /// The value of `agent`, made where there is none.
    pub fn of(&mut self, agent: &Arc<str>) -> &mut T {
        let is_last = self.entries.get(self.last).is_some_and(|(last, _)| Arc::ptr_eq(last, agent));
        if !is_last {
            self.last = self.entries.binary_search_by(|(name, _)| name.cmp(agent)).unwrap_or_else(|place| {
                self.entries.insert(place, (agent.clone(), T::default()));
                place
            });
        }
        &mut self.entries[self.last].1
    }

    /// Takes out the value of `agent`, or what there would be.
    pub fn take(&mut self, agent: &Arc<str>) -> T {
        let place = self.entries.binary_search_by(|(name, _)| name.cmp(agent));
        place.map(|place| std::mem::take(&mut self.entries[place].1)).unwrap_or_default()
    }
}

impl<T> IntoIterator for ByAgent<T> {
    type Item = (Arc<str>, T);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_has_one_value_whatever_text_names_it() {
        let mut sums = ByAgent::<u32>::default();
        let name: Arc<str> = "b".into();
        for agent in [&name, &name, &"a".into(), &"b".into(), &"c".into(), &name] {
            *sums.of(agent) += 1;
        }
        assert_eq!((sums.take(&"c".into()), sums.take(&"d".into())), (1, 0));
        let all: Vec<_> = sums.into_iter().map(|(name, n)| (name.to_string(), n)).collect();
        assert_eq!(all, [("a".to_owned(), 1), ("b".to_owned(), 4), ("c".to_owned(), 0)]);
    }
}
