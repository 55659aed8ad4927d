//! Avro's binary encoding, field by field, straight between bytes and the domain's types.
//!
//! It builds no intermediate value, and it refuses what apache-avro lets pass: an end of input in the
//! middle, lengths beyond what is there, text that isn't UTF-8, blocks that lie about their size.

use std::collections::BTreeMap;

use domain::time::Millis;

/// What is wrong with a datum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end in the middle.
    #[error("ends too early")]
    EndOfInput,
    /// A variable-length integer of more than 64 bits.
    #[error("has an integer of more than 64 bits")]
    LongOverflow,
    /// An `int` outside 32 bits.
    #[error("has an int outside 32 bits: {0}")]
    IntOverflow(i64),
    /// A boolean that is neither 0 nor 1.
    #[error("has a boolean that is neither 0 nor 1: {0}")]
    Boolean(u8),
    /// A negative length, or one beyond the bytes that are left.
    #[error("has a length of {length} with {remaining} bytes left")]
    Length {
        /// What the datum says.
        length: i64,
        /// What is there.
        remaining: usize,
    },
    /// A block whose items don't take the bytes that it announced.
    #[error("has a block whose items don't take the {announced} bytes that it announces")]
    BlockSize {
        /// What the block says.
        announced: usize,
    },
    /// Text that isn't UTF-8.
    #[error("has text that isn't UTF-8")]
    Utf8,
    /// A branch that the union doesn't have.
    #[error("has no branch {0} in its union")]
    Branch(i64),
    /// A symbol that this program doesn't know; 0 stands for one that only a newer writer has.
    #[error("has no known symbol {index} in its enum {name}")]
    Symbol {
        /// The enum.
        name: String,
        /// The index on the wire.
        index: i64,
    },
    /// More values than a datum of a foreign schema may have.
    #[error("has more than {0} values")]
    TooMany(usize),
    /// The writer's value doesn't fit our schema (e.g. another unit of time).
    #[error("doesn't resolve to the reader's schema")]
    Unresolvable,
}

/// Where and why a datum couldn't be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", place(field))]
pub struct DecodeError {
    /// Dotted path of the field; empty for the record itself.
    pub field: String,
    /// What is wrong with it. Part of the text, and so not a source.
    pub problem: Problem,
}

impl From<Problem> for DecodeError {
    fn from(problem: Problem) -> Self {
        Self { field: String::new(), problem }
    }
}

impl DecodeError {
    /// The same error, seen from the record that has the field.
    #[must_use]
    #[cold]
    pub fn within(mut self, name: &str) -> Self {
        if self.field.is_empty() {
            name.clone_into(&mut self.field);
        } else {
            self.field = format!("{name}.{}", self.field);
        }
        self
    }
}

/// How an error text names a field: "field `a.b` ", or nothing for the record itself.
pub(crate) fn place(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("field `{field}` ") }
}

/// Takes Avro's primitives off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Problem::EndOfInput`].
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Problem> {
        let (first, rest) = self.rest.split_first().ok_or(Problem::EndOfInput)?;
        self.rest = rest;
        Ok(*first)
    }

    /// `count` bytes as they are.
    ///
    /// # Errors
    /// [`Problem::EndOfInput`].
    #[inline]
    pub fn exactly(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Problem::EndOfInput)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A zigzag variable-length `long`.
    ///
    /// # Errors
    /// [`Problem::EndOfInput`], [`Problem::LongOverflow`].
    #[inline]
    pub fn long(&mut self) -> Result<i64, Problem> {
        // Most are lengths and branches, which take one byte.
        if let Some((first, rest)) = self.rest.split_first()
            && first & 0x80 == 0
        {
            self.rest = rest;
            return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
        }
        self.long_of_many()
    }

    fn long_of_many(&mut self) -> Result<i64, Problem> {
        let mut zigzag = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Problem::LongOverflow);
            }
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// An `int`.
    ///
    /// # Errors
    /// As [`Reader::long`], and [`Problem::IntOverflow`].
    pub fn int(&mut self) -> Result<i32, Problem> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| Problem::IntOverflow(long))
    }

    /// A `boolean`.
    ///
    /// # Errors
    /// [`Problem::EndOfInput`], [`Problem::Boolean`].
    pub fn boolean(&mut self) -> Result<bool, Problem> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Problem::Boolean(other)),
        }
    }

    /// `bytes`, borrowed: nothing is allocated for a length that isn't there.
    ///
    /// # Errors
    /// As [`Reader::long`], and [`Problem::Length`].
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Problem> {
        let length = self.long()?;
        let count = self.bounded(length)?;
        self.exactly(count)
    }

    /// A `string`, borrowed.
    ///
    /// # Errors
    /// As [`Reader::bytes`], and [`Problem::Utf8`].
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, Problem> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Problem::Utf8)
    }

    /// The index of a union's branch.
    ///
    /// # Errors
    /// As [`Reader::long`], and [`Problem::Branch`] for an index of `count` or more.
    #[inline]
    pub fn branch(&mut self, count: usize) -> Result<usize, Problem> {
        let index = self.long()?;
        usize::try_from(index).ok().filter(|i| *i < count).ok_or(Problem::Branch(index))
    }

    /// Calls `item` once for each item of an array or map, over all its blocks.
    ///
    /// A block may announce its size in bytes (negative count); then its items must take exactly that.
    /// The count isn't bounded by the bytes left, because items may be empty: `item` keeps its own bound
    /// where it reads such types. Those of our own records never are.
    ///
    /// # Errors
    /// What `item` says, as [`Reader::long`], [`Problem::Length`], [`Problem::BlockSize`].
    pub fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            let announced = if count < 0 {
                let length = self.long()?;
                let size = self.bounded(length)?;
                Some((size, self.remaining() - size))
            } else {
                None
            };
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
            if let Some((announced, after)) = announced
                && self.remaining() != after
            {
                return Err(Problem::BlockSize { announced }.into());
            }
        }
    }

    #[inline]
    fn bounded(&self, length: i64) -> Result<usize, Problem> {
        usize::try_from(length)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or(Problem::Length { length, remaining: self.rest.len() })
    }
}

/// What can stand in a field of a record.
pub trait Field: Sized {
    /// Appends the Avro encoding.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes one value off the front.
    ///
    /// # Errors
    /// [`DecodeError`], with the field's path as far as it is known here.
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Appends a zigzag variable-length `long`.
#[inline]
pub(crate) fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// Appends `bytes`, or a `string`'s bytes: the encoding is the same.
#[inline]
pub(crate) fn write_bytes(value: &[u8], out: &mut Vec<u8>) {
    write_count(value.len(), out);
    out.extend_from_slice(value);
}

fn write_count(count: usize, out: &mut Vec<u8>) {
    write_long(i64::try_from(count).expect("a length in memory fits 63 bits"), out);
}

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(input.boolean()?)
    }
}

impl Field for i32 {
    fn write(&self, out: &mut Vec<u8>) {
        write_long(i64::from(*self), out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(input.int()?)
    }
}

impl Field for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        write_long(*self, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(input.long()?)
    }
}

impl Field for Millis {
    fn write(&self, out: &mut Vec<u8>) {
        write_long(self.0, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(input.long()?))
    }
}

impl Field for String {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), out);
    }

    #[inline]
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(input.string()?.to_owned())
    }
}

impl Field for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(input.bytes()?.to_vec())
    }
}

/// `[null, T]`: the only union that the contract has.
impl<T: Field> Field for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => write_long(0, out),
            Some(value) => {
                write_long(1, out);
                value.write(out);
            }
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match input.branch(2)? {
            0 => Ok(None),
            _ => T::read(input).map(Some),
        }
    }
}

/// An `array`; items are records of ours, which take at least a byte each.
impl<T: Field> Field for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            write_count(self.len(), out);
            for item in self {
                item.write(out);
            }
        }
        write_long(0, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut items = Self::new();
        input.blocks(|input| {
            let item = T::read(input).map_err(|error| error.within(&items.len().to_string()))?;
            items.push(item);
            Ok(())
        })?;
        Ok(items)
    }
}

/// A `map`; of two entries with one key the last stands.
impl<T: Field> Field for BTreeMap<String, T> {
    fn write(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            write_count(self.len(), out);
            for (key, value) in self {
                key.write(out);
                value.write(out);
            }
        }
        write_long(0, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut entries = Self::new();
        input.blocks(|input| {
            let key = String::read(input)?;
            let value = T::read(input)?;
            entries.insert(key, value);
            Ok(())
        })?;
        Ok(entries)
    }
}
