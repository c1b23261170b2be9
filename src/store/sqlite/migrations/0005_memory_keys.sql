-- The keys of a block, apart from its spans: they are few bytes and outlive the spans where these must make room.
-- Blocks written before have theirs in the body.
ALTER TABLE memory_blocks ADD COLUMN keys BLOB NOT NULL DEFAULT x'';
