//! The fields of an encoded protobuf message, one by one.

/// Why bytes are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A number has no end, or more than 64 bits.
    #[error("invalid varint")]
    Varint,
    /// A field reaches beyond its message.
    #[error("unexpected end of the message")]
    End,
    /// A field has no number, or one that is too large.
    #[error("invalid field number")]
    Tag,
    /// A field has another type than it should have, or one that does not exist.
    #[error("invalid wire type")]
    WireType,
    /// A group does not end where it should.
    #[error("unexpected end of a group")]
    Group,
    /// Messages are nested too deep.
    #[error("nested too deep")]
    Depth,
    /// A text is not UTF-8.
    #[error("invalid UTF-8 in a text")]
    Utf8,
}

/// How deep groups may be nested; prost refuses more.
const DEPTH_MAX: usize = 100;

/// The content of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// A group, which was skipped.
    Group,
}

impl<'a> Field<'a> {
    /// The content of a text, bytes or a message.
    #[inline(always)]
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::WireType),
        }
    }

    #[inline(always)]
    pub fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(n) => Ok(n),
            _ => Err(Malformed::WireType),
        }
    }

    #[inline(always)]
    pub fn fixed64(self) -> Result<u64, Malformed> {
        match self {
            Self::Fixed64(n) => Ok(n),
            _ => Err(Malformed::WireType),
        }
    }

    #[inline(always)]
    pub fn fixed32(self) -> Result<u32, Malformed> {
        match self {
            Self::Fixed32(n) => Ok(n),
            _ => Err(Malformed::WireType),
        }
    }
}

/// Reads the fields of a message in the order in which they were written.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline(always)]
    pub const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Number and content of the next field; `None` at the end.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.key()?;
        let field = match wire_type {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(*self.chunk()?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            3 => {
                self.rest = after_group(self.rest, number)?;
                Field::Group
            }
            5 => Field::Fixed32(u32::from_le_bytes(*self.chunk()?)),
            4 => return Err(Malformed::Group),
            _ => return Err(Malformed::WireType),
        };
        Ok(Some((number, field)))
    }

    /// The content of the next field, if its key is `tag`, that of a text or a message, written as short as can be.
    #[inline(always)]
    pub fn next_of(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        let [key, rest @ ..] = self.rest else { return Ok(None) };
        if *key != tag {
            return Ok(None);
        }
        self.rest = rest;
        let length = self.varint()?;
        self.take(length).map(Some)
    }

    /// How many bytes are left.
    #[cfg(test)]
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline(always)]
    fn key(&mut self) -> Result<(u32, u8), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed::Tag)?;
        if key < 8 {
            return Err(Malformed::Tag);
        }
        Ok((key >> 3, (key & 7) as u8))
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [first, rest @ ..] if *first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*first))
            }
            [first, second, rest @ ..] if *second < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*first & 0x7f) | u64::from(*second) << 7)
            }
            _ => {
                let (value, rest) = long_varint(self.rest)?;
                self.rest = rest;
                Ok(value)
            }
        }
    }

    #[inline(always)]
    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(Malformed::End)?;
        self.rest = rest;
        Ok(chunk)
    }

    #[inline(always)]
    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed::End)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::End)?;
        self.rest = rest;
        Ok(taken)
    }
}

// These two take what is left and give it back: a reader that is lent to a function must lie in memory, not in registers.

/// A varint at the beginning of `rest`, and what follows it.
#[inline(never)]
fn long_varint(rest: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut value = 0;
    for (i, byte) in rest.iter().take(10).enumerate() {
        // Of the tenth byte one bit is left.
        if i == 9 && *byte > 1 {
            return Err(Malformed::Varint);
        }
        value |= u64::from(*byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Ok((value, &rest[i + 1..]));
        }
    }
    Err(Malformed::Varint)
}

/// What follows the group `number`, whose beginning has been read. Groups are a form that nobody sends any more.
#[cold]
fn after_group(rest: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let mut fields = Fields { rest };
    let mut open = vec![number];
    while let Some(innermost) = open.last() {
        let (number, wire_type) = fields.key()?;
        match wire_type {
            0 => drop(fields.varint()?),
            1 => drop(fields.chunk::<8>()?),
            2 => {
                let length = fields.varint()?;
                fields.take(length)?;
            }
            3 if open.len() > DEPTH_MAX => return Err(Malformed::Depth),
            3 => open.push(number),
            4 if *innermost == number => drop(open.pop()),
            4 => return Err(Malformed::Group),
            5 => drop(fields.chunk::<4>()?),
            _ => return Err(Malformed::WireType),
        }
    }
    Ok(fields.rest)
}

/// What is in a message that has but one field, a text or a message, written as short as can be: `tag` is the field's key.
/// `None` for all other messages.
#[inline(always)]
pub(super) fn only(tag: u8, message: &[u8]) -> Option<&[u8]> {
    match message {
        [key, length @ 0..=0x7f, content @ ..] if *key == tag && content.len() == usize::from(*length) => Some(content),
        [key, low @ 0x80..=0xff, high @ 0..=0x7f, content @ ..]
            if *key == tag && content.len() == usize::from(*low & 0x7f) | usize::from(*high) << 7 =>
        {
            Some(content)
        }
        _ => None,
    }
}

/// A text, which must be UTF-8.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| Malformed::Utf8)
}
