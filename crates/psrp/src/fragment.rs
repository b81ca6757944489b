//! Fragments: messages cut to the size of an envelope.

use std::collections::HashMap;

/// Bytes of a fragment's header.
const HEADER: usize = 21;
/// Largest object that is put together: what the protocol itself allows to a server.
const MAX_OBJECT: usize = 50 * 1024 * 1024;

/// Cuts messages into fragments; object ids count from 1.
#[derive(Debug)]
pub struct Fragmenter {
    next: u64,
    max: usize,
}

impl Fragmenter {
    /// A fragmenter whose fragments carry at most `max` bytes of data.
    pub fn new(max: usize) -> Self {
        Fragmenter { next: 1, max: max.max(64) }
    }
    /// The fragments of one message.
    pub fn fragment(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        let id = self.next;
        self.next += 1;
        let chunks: Vec<&[u8]> =
            if message.is_empty() { vec![message] } else { message.chunks(self.max).collect() };
        let last = chunks.len() - 1;
        chunks
            .iter()
            .enumerate()
            .map(|(i, chunk)| {
                let mut f = Vec::with_capacity(HEADER + chunk.len());
                f.extend_from_slice(&id.to_be_bytes());
                f.extend_from_slice(&(i as u64).to_be_bytes());
                f.push(u8::from(i == 0) | (u8::from(i == last) << 1));
                f.extend_from_slice(&u32::try_from(chunk.len()).unwrap_or(u32::MAX).to_be_bytes());
                f.extend_from_slice(chunk);
                f
            })
            .collect()
    }
}

/// Puts fragments together again; objects may come interleaved.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Objects that are not complete, with the number of the fragment that comes next.
    open: HashMap<u64, (u64, Vec<u8>)>,
}

impl Assembler {
    /// Takes bytes that hold whole fragments; gives the messages that are complete now.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut done = Vec::new();
        while !bytes.is_empty() {
            let (Some(id), Some(number), Some(flags), Some(length)) =
                (bytes.get(..8), bytes.get(8..16), bytes.get(16), bytes.get(17..HEADER))
            else {
                return Err("a fragment is cut off in its header".into());
            };
            let id = u64::from_be_bytes(id.try_into().unwrap_or_default());
            let number = u64::from_be_bytes(number.try_into().unwrap_or_default());
            let length = u32::from_be_bytes(length.try_into().unwrap_or_default()) as usize;
            let Some(data) = bytes.get(HEADER..HEADER + length) else {
                return Err("a fragment is cut off in its data".into());
            };
            if flags & 1 != 0 && self.open.insert(id, (0, Vec::new())).is_some() {
                return Err(format!("object {id} begins a second time"));
            }
            let Some((next, object)) = self.open.get_mut(&id) else {
                return Err(format!("a fragment continues object {id}, which never began"));
            };
            if number != *next {
                return Err(format!("fragment {number} of object {id} came in place of {next}"));
            }
            *next += 1;
            if object.len() + length > MAX_OBJECT {
                return Err("an object is larger than 50 MiB".into());
            }
            object.extend_from_slice(data);
            if flags & 2 != 0 {
                done.extend(self.open.remove(&id).map(|(_, object)| object));
            }
            bytes = &bytes[HEADER + length..];
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cut_and_put_together_also_interleaved() {
        let mut f = Fragmenter::new(64);
        let (a, b): (Vec<u8>, Vec<u8>) = ((0..200).collect(), vec![7; 130]);
        let (fa, fb) = (f.fragment(&a), f.fragment(&b));
        let mut assembler = Assembler::default();
        let mut out = Vec::new();
        for i in 0..fa.len().max(fb.len()) {
            for part in [fa.get(i), fb.get(i)].into_iter().flatten() {
                out.extend(assembler.push(part).unwrap());
            }
        }
        out.sort();
        assert_eq!(out, {
            let mut v = vec![a, b];
            v.sort();
            v
        });
        assert!(assembler.push(&fa[1]).is_err());
        assert!(assembler.push(&fa[0][..10]).is_err());
        // A gap, and a second beginning.
        assert!(assembler.push(&fa[0]).is_ok() && assembler.push(&fa[2]).is_err());
        assert!(Assembler::default().push(&[fa[0].clone(), fa[0].clone()].concat()).is_err());
    }
}
