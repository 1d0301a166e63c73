//! The error that crosses the C ABI: a code and a sentence.

/// Values are those of BatonTextCode in ../text_abi.h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub enum Code {
    Ok = 0,
    /// The caller's input is wrong.
    InvalidArgument = 1,
    /// The model file lacks something or has something that is not supported.
    FailedPrecondition = 2,
    /// A budget (instructions, output) was used up.
    ResourceExhausted = 3,
    /// A bug in this library.
    Internal = 4,
}

#[derive(Debug)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn invalid(message: impl Into<String>) -> Error {
        Error { code: Code::InvalidArgument, message: message.into() }
    }
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error { code: Code::FailedPrecondition, message: message.into() }
    }
    pub fn exhausted(message: impl Into<String>) -> Error {
        Error { code: Code::ResourceExhausted, message: message.into() }
    }
    pub fn internal(message: impl Into<String>) -> Error {
        Error { code: Code::Internal, message: message.into() }
    }
}
