//! Messages on the wire. A body that is no message is the caller's mistake, not a fault of the server.

use crate::a2a::error::A2aError;
use muster_protocol::a2a::ErrorKind;
use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Reads messages `Q` and writes messages `A`.
pub(super) struct Messages<Q, A>(PhantomData<(Q, A)>);

impl<Q, A> Messages<Q, A> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Q: Message + Default + 'static, A: Message + 'static> Codec for Messages<Q, A> {
    type Encode = A;
    type Decode = Q;
    type Encoder = ProstEncoder<A>;
    type Decoder = Reader<Q>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<A, Q>::default().encoder()
    }

    fn decoder(&mut self) -> Reader<Q> {
        Reader(ProstCodec::<A, Q>::default().decoder())
    }
}

/// Reads messages.
pub(super) struct Reader<Q>(ProstDecoder<Q>);

impl<Q: Message + Default + 'static> Decoder for Reader<Q> {
    type Item = Q;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Q>, Status> {
        let read = self.0.decode(buffer);
        read.map_err(|status| A2aError::new(ErrorKind::InvalidRequest, format!("the body cannot be read: {}", status.message())).status())
    }
}
