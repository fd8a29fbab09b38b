//! What kind of frame it is: the opcodes of RFC 6455, 5.2, those that have a meaning.

/// A frame's opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OpCode {
    /// Part of a message.
    Data(Data),
    /// About the connection. May stand between the frames of a message.
    Control(Control),
}

/// Opcodes 0 to 2. 3 to 7 are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Data {
    /// More of the message that has begun.
    Continue = 0,
    /// A message of text begins.
    Text = 1,
    /// A message of bytes begins.
    Binary = 2,
}

/// Opcodes 8 to 10. 11 to 15 are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Control {
    /// The last frame of its sender.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping, or says unasked that its sender is there.
    Pong = 10,
}

impl OpCode {
    /// What the four bits of a header mean. `None` for those that are reserved.
    #[inline(always)]
    pub(super) const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Data(Data::Continue),
            1 => Self::Data(Data::Text),
            2 => Self::Data(Data::Binary),
            8 => Self::Control(Control::Close),
            9 => Self::Control(Control::Ping),
            10 => Self::Control(Control::Pong),
            _ => return None,
        })
    }

    /// The four bits of a header that mean it.
    #[inline(always)]
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Data(data) => data as u8,
            Self::Control(control) => control as u8,
        }
    }
}
