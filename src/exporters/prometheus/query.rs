//! What a scraper asks for: `?collect[]=process|agents` (repeatable) and `?shard=i/n`.

use axum::http::StatusCode;

use crate::http::ApiError;
use crate::model::AgentId;

/// What an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The gateway's own metrics.
    pub process: bool,
    /// The fleet's.
    pub agents: bool,
    /// Which part of the fleet.
    pub shard: Shard,
}

/// One of `of` parts of the fleet, by the agents' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// The whole fleet.
    pub const ALL: Self = Self { index: 0, of: 1 };

    /// Whether the agent is in this part. Every agent is in exactly one of the parts.
    pub fn holds(self, agent: AgentId) -> bool {
        agent.0.rem_euclid(i64::from(self.of)) == i64::from(self.index)
    }

    fn parse(text: &str) -> Option<Self> {
        let (index, of) = text.split_once('/')?;
        let shard = Self { index: index.parse().ok()?, of: of.parse().ok()? };
        (shard.index < shard.of).then_some(shard)
    }
}

impl Selection {
    /// Reads the query. Parameters that are not ours are left alone; ours must be right.
    pub fn parse(query: &[(String, String)]) -> Result<Self, ApiError> {
        let mut selection = Self { process: false, agents: false, shard: Shard::ALL };
        let mut sharded = false;
        for (key, value) in query {
            match (key.as_str(), value.as_str()) {
                ("collect[]", "process") => selection.process = true,
                ("collect[]", "agents") => selection.agents = true,
                ("collect[]", other) => {
                    return Err(bad(format!("collect[] is {other:?}; allowed are \"process\" and \"agents\"")));
                }
                ("shard", _) if sharded => return Err(bad("shard is given twice; give it once".to_owned())),
                ("shard", text) => {
                    sharded = true;
                    selection.shard = Shard::parse(text).ok_or_else(|| {
                        bad(format!(
                            "shard is {text:?}; write i/n with 0 <= i < n, for example shard=0/2 and shard=1/2"
                        ))
                    })?;
                }
                _ => {}
            }
        }
        if !selection.process && !selection.agents {
            (selection.process, selection.agents) = (true, true);
        }
        Ok(selection)
    }
}

fn bad(detail: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Selection, String> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Selection::parse(&pairs).map_err(|e| {
            assert_eq!(e.status(), StatusCode::BAD_REQUEST);
            e.detail_text()
        })
    }

    #[test]
    fn without_a_wish_everything_is_told() {
        let all = Selection { process: true, agents: true, shard: Shard::ALL };
        assert_eq!(parse(&[]), Ok(all));
        assert_eq!(parse(&[("format", "x")]), Ok(all));
        assert_eq!(parse(&[("collect[]", "process"), ("collect[]", "agents")]), Ok(all));
        assert_eq!(parse(&[("collect[]", "process")]), Ok(Selection { agents: false, ..all }));
        assert_eq!(
            parse(&[("collect[]", "agents"), ("shard", "1/3")]),
            Ok(Selection { process: false, agents: true, shard: Shard { index: 1, of: 3 } })
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse(&[("collect[]", "cpu")]).unwrap_err().contains("allowed are"));
        for shard in ["", "1", "2/2", "0/0", "-1/2", "1/-2", "1/2/3", "a/b", "0/4294967296"] {
            assert!(parse(&[("shard", shard)]).unwrap_err().contains("write i/n"), "{shard}");
        }
        assert!(parse(&[("shard", "0/1"), ("shard", "0/1")]).unwrap_err().contains("twice"));
    }

    #[test]
    fn every_agent_is_in_exactly_one_shard() {
        for of in [1, 2, 3, 7, 64] {
            for id in 1..500 {
                let holders = (0..of).filter(|i| Shard { index: *i, of }.holds(AgentId(id))).count();
                assert_eq!(holders, 1, "agent {id} of {of}");
            }
        }
    }
}
