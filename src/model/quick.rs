//! Hash tables for the hot path. What is hashed there is short (ids, digests, names) and partly chosen by senders: the
//! hasher is seeded at random, for each process and table, and takes a fraction of the time of the standard one.

/// A map that is looked up for everything that arrives.
pub type QuickMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
/// A set that is looked up for everything that arrives.
pub type QuickSet<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;
