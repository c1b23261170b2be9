//! What is summed up by agent while the spans of a trace are gone through: mostly each is of the same agent as the last.

use std::sync::Arc;

use smallvec::SmallVec;

/// Values by agent, in the order of the names. Mostly there is one agent, and no memory is needed for the list.
#[derive(Debug)]
pub struct ByAgent<T> {
    entries: SmallVec<[(Arc<str>, T); 2]>,
    /// The place of the agent that was asked for last.
    last: usize,
}

impl<T> Default for ByAgent<T> {
    fn default() -> Self {
        Self { entries: SmallVec::new(), last: 0 }
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

    /// The value of `agent`, if there is one.
    #[cfg(test)]
    pub fn get(&self, agent: &str) -> Option<&T> {
        let place = self.entries.binary_search_by(|(name, _)| (**name).cmp(agent)).ok()?;
        Some(&self.entries[place].1)
    }

    /// Keeps only what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&Arc<str>, &T) -> bool) {
        self.entries.retain(|(agent, value)| keep(agent, value));
        self.last = usize::MAX;
    }

    /// The agents, in order.
    #[cfg(test)]
    pub fn names(&self) -> Vec<&str> {
        self.entries.iter().map(|(name, _)| &**name).collect()
    }
}

impl<T> IntoIterator for ByAgent<T> {
    type Item = (Arc<str>, T);
    type IntoIter = smallvec::IntoIter<[Self::Item; 2]>;

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
        assert_eq!((sums.get("c"), sums.get("d")), (Some(&1), None));
        sums.retain(|name, _| **name != *"a");
        *sums.of(&name) += 1;
        let all: Vec<_> = sums.into_iter().map(|(name, n)| (name.to_string(), n)).collect();
        assert_eq!(all, [("b".to_owned(), 5), ("c".to_owned(), 1)]);
    }
}
