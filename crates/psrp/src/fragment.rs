//! Fragments: messages cut to the size of an envelope.

use std::collections::HashMap;

/// Bytes of a fragment's header.
const HEADER: usize = 21;
/// Most that is held of objects that are not complete: what the protocol itself allows to a server for one.
const MAX_OBJECT: usize = 50 * 1024 * 1024;
/// Most objects that are not complete at once: a server writes one for each stream.
const MAX_OPEN: usize = 1_000;

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
    /// Bytes of those.
    held: usize,
    /// Whether fragments may be missing: then what is not whole is left out.
    gaps: bool,
}

impl Assembler {
    /// An assembler of what may have begun before it listened, and of which something may be missing: a server throws output away that
    /// it cannot keep for a client that is gone (BufferMode Drop).
    pub fn with_gaps() -> Assembler {
        Assembler { gaps: true, ..Assembler::default() }
    }

    /// Something is missing from here on, or may be.
    pub fn gap(&mut self) {
        *self = Assembler::with_gaps();
    }

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
            let Some(data) = bytes.get(HEADER..).and_then(|rest| rest.get(..length)) else {
                return Err("a fragment is cut off in its data".into());
            };
            done.extend(self.fragment(id, number, *flags, data)?);
            bytes = &bytes[HEADER + length..];
        }
        Ok(done)
    }

    /// Forgets an object that is not complete.
    fn forget(&mut self, id: u64) {
        if let Some((_, object)) = self.open.remove(&id) {
            self.held -= object.len();
        }
    }

    /// Takes one fragment; gives its object if that is complete.
    fn fragment(&mut self, id: u64, number: u64, flags: u8, data: &[u8]) -> Result<Option<Vec<u8>>, String> {
        if flags & 1 != 0 {
            if self.open.contains_key(&id) && !self.gaps {
                return Err(format!("object {id} begins a second time"));
            }
            self.forget(id);
            if self.open.len() >= MAX_OPEN {
                return Err(format!("more than {MAX_OPEN} objects are not complete"));
            }
            self.open.insert(id, (0, Vec::new()));
        }
        let Some((next, object)) = self.open.get_mut(&id) else {
            // Its beginning is missing: the rest of it is nothing.
            return if self.gaps {
                Ok(None)
            } else {
                Err(format!("a fragment continues object {id}, which never began"))
            };
        };
        if number != *next {
            let wrong = format!("fragment {number} of object {id} came in place of {next}");
            self.forget(id);
            return if self.gaps { Ok(None) } else { Err(wrong) };
        }
        *next += 1;
        // All of them together, not each: else a thousand that never end would hold a thousand times as much.
        if self.held + data.len() > MAX_OBJECT {
            return Err("objects that are not complete are larger than 50 MiB".into());
        }
        object.extend_from_slice(data);
        self.held += data.len();
        if flags & 2 == 0 {
            return Ok(None);
        }
        let object = self.open.remove(&id).map(|(_, object)| object);
        self.held -= object.as_ref().map_or(0, Vec::len);
        Ok(object)
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

    #[test]
    fn after_a_gap_what_is_whole_is_given_and_the_rest_left_out() {
        let mut f = Fragmenter::new(64);
        let (cut, whole): (Vec<u8>, Vec<u8>) = (vec![1; 200], vec![2; 130]);
        let (cut, parts) = (f.fragment(&cut), f.fragment(&whole));
        let mut assembler = Assembler::with_gaps();
        let stream = [&cut[2..], &parts[..], &cut[..1], &cut[2..3], &parts[..]].concat();
        assert_eq!(assembler.push(&stream.concat()).unwrap(), [whole.clone(), whole]);
        // What is no fragment at all is still an error.
        assert!(assembler.push(&cut[0][..10]).is_err());
    }

    #[test]
    fn objects_that_never_end_are_held_up_to_a_bound_in_all() {
        let fragment = |id: u64, flags: u8, data: &[u8]| {
            let mut f = [id.to_be_bytes(), 0u64.to_be_bytes()].concat();
            f.push(flags);
            f.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            f.extend(data);
            f
        };
        let mut assembler = Assembler::default();
        let many: Vec<u8> = (0..1_000).flat_map(|id| fragment(id, 1, b"x")).collect();
        assert_eq!(assembler.push(&many).unwrap(), Vec::<Vec<u8>>::new());
        assert!(assembler.push(&fragment(1_000, 1, b"x")).unwrap_err().contains("1000 objects"));
        let mut assembler = Assembler::default();
        let large = vec![0; 1024 * 1024];
        let refused = (0..60).find_map(|id| assembler.push(&fragment(id, 1, &large)).err());
        assert!(refused.unwrap().contains("50 MiB") && assembler.held <= MAX_OBJECT);
    }
}
