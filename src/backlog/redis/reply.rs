//! Scripts' replies: flat arrays, read strictly from the front. What is not of the expected shape is an
//! error that names the place and never the value, which may hold a token.

use ::redis::{ErrorKind, RedisError, RedisResult, Value};

/// A reply, as far as it was not read yet.
pub(super) struct Reply {
    values: std::vec::IntoIter<Value>,
    read: usize,
}

impl Reply {
    /// Takes an array.
    pub(super) fn new(value: Value) -> RedisResult<Self> {
        let Value::Array(values) = value else {
            return Err(unexpected("an array", 0));
        };
        Ok(Self {
            values: values.into_iter(),
            read: 0,
        })
    }

    fn next(&mut self, wanted: &str) -> RedisResult<Value> {
        self.read += 1;
        self.values
            .next()
            .ok_or_else(|| unexpected(wanted, self.read))
    }

    /// Whether everything was read.
    pub(super) fn is_done(&self) -> bool {
        self.values.len() == 0
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> RedisResult<()> {
        if self.is_done() {
            Ok(())
        } else {
            Err(unexpected("the end", self.read + 1))
        }
    }

    /// An integer, in the range of `T`.
    pub(super) fn int<T: TryFrom<i64>>(&mut self) -> RedisResult<T> {
        self.int_or_none()?
            .ok_or_else(|| unexpected("an integer", self.read))
    }

    /// An integer or nothing.
    pub(super) fn int_or_none<T: TryFrom<i64>>(&mut self) -> RedisResult<Option<T>> {
        match self.next("an integer")? {
            Value::Nil => Ok(None),
            Value::Int(n) => T::try_from(n)
                .map(Some)
                .map_err(|_| unexpected("an integer in its range", self.read)),
            _ => Err(unexpected("an integer", self.read)),
        }
    }

    /// 0 or 1.
    pub(super) fn flag(&mut self) -> RedisResult<bool> {
        match self.int::<i64>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(unexpected("0 or 1", self.read)),
        }
    }

    /// Bytes.
    pub(super) fn bytes(&mut self) -> RedisResult<Vec<u8>> {
        self.bytes_or_none()?
            .ok_or_else(|| unexpected("a string", self.read))
    }

    fn bytes_or_none(&mut self) -> RedisResult<Option<Vec<u8>>> {
        match self.next("a string")? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Err(unexpected("a string", self.read)),
        }
    }

    /// A text.
    pub(super) fn text(&mut self) -> RedisResult<String> {
        self.text_or_none()?
            .ok_or_else(|| unexpected("a string", self.read))
    }

    /// A text or nothing.
    pub(super) fn text_or_none(&mut self) -> RedisResult<Option<String>> {
        self.bytes_or_none()?
            .map(|bytes| String::from_utf8(bytes).map_err(|_| unexpected("UTF-8", self.read)))
            .transpose()
    }

    /// A word that none of the known ones is.
    pub(super) fn unknown_word(&self) -> RedisError {
        unexpected("a known word", self.read)
    }
}

fn unexpected(wanted: &str, place: usize) -> RedisError {
    RedisError::from((
        ErrorKind::UnexpectedReturnType,
        "a script's reply is not what it should be",
        format!("{wanted} at place {place}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(values: Vec<Value>) -> Reply {
        Reply::new(Value::Array(values)).unwrap()
    }

    #[test]
    fn another_shape_is_an_error_that_does_not_show_the_value() {
        let secret = || Value::BulkString(b"secret".to_vec());
        let errors = [
            Reply::new(secret()).err(),
            reply(vec![secret()]).int::<i64>().err(),
            reply(vec![secret()]).flag().err(),
            reply(vec![Value::Int(2)]).flag().err(),
            reply(vec![Value::Int(-1)]).int::<u32>().err(),
            reply(vec![Value::Nil]).int::<u32>().err(),
            reply(vec![Value::Nil]).text().err(),
            reply(vec![Value::BulkString(vec![0xff])]).text().err(),
            reply(vec![]).bytes().err(),
            reply(vec![secret()]).end().err(),
        ];
        for error in errors {
            let error = error.unwrap();
            assert_eq!(error.kind(), ErrorKind::UnexpectedReturnType);
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
}
