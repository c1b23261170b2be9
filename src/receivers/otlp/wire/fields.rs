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
            3 => self.skip_group(number)?,
            5 => Field::Fixed32(u32::from_le_bytes(*self.chunk()?)),
            4 => return Err(Malformed::Group),
            _ => return Err(Malformed::WireType),
        };
        Ok(Some((number, field)))
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
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            // Of the tenth byte one bit is left.
            if i == 9 && *byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= u64::from(*byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
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

    /// Skips what is left of the group `number`, whose beginning has been read. Groups are a form that nobody sends any
    /// more.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<Field<'a>, Malformed> {
        let mut open = vec![number];
        while let Some(innermost) = open.last() {
            let (number, wire_type) = self.key()?;
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.chunk::<8>()?),
                2 => {
                    let length = self.varint()?;
                    self.take(length)?;
                }
                3 if open.len() > DEPTH_MAX => return Err(Malformed::Depth),
                3 => open.push(number),
                4 if *innermost == number => drop(open.pop()),
                4 => return Err(Malformed::Group),
                5 => drop(self.chunk::<4>()?),
                _ => return Err(Malformed::WireType),
            }
        }
        Ok(Field::Group)
    }
}

/// A text, which must be UTF-8.
#[inline(always)]
pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)
}
