//! The byte-to-character map of byte-level BPE (GPT-2's bytes_to_unicode): every byte has a
//! printable character.

use std::sync::OnceLock;

/// Character of each byte: printable Latin-1 stands for itself, the other 68 bytes follow from
/// U+0100 on.
pub fn byte_characters() -> &'static [char; 256] {
    static TABLE: OnceLock<[char; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = ['\0'; 256];
        let mut next_free = 256u32;
        for byte in 0..=255u8 {
            let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            table[byte as usize] = if printable {
                byte as char
            } else {
                next_free += 1;
                char::from_u32(next_free - 1).expect("below U+0144")
            };
        }
        table
    })
}

/// Appends the characters of the bytes of `text` to `mapped`.
pub fn append_mapped(text: &str, mapped: &mut String) {
    let table = byte_characters();
    mapped.extend(text.bytes().map(|byte| table[byte as usize]));
}

/// The bytes that the characters of a token stand for, or the token's own bytes when one of its
/// characters is outside the map (tokens that were added as plain text).
pub fn bytes_of_token(token: &str) -> Vec<u8> {
    static INVERSE: OnceLock<[i16; 0x144]> = OnceLock::new();
    let inverse = INVERSE.get_or_init(|| {
        let mut inverse = [-1i16; 0x144];
        for (byte, character) in byte_characters().iter().enumerate() {
            inverse[*character as usize] = byte as i16;
        }
        inverse
    });
    let mut bytes = Vec::with_capacity(token.len());
    for character in token.chars() {
        match inverse.get(character as usize) {
            Some(&byte) if byte >= 0 => bytes.push(byte as u8),
            _ => return token.as_bytes().to_vec(),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_round_trip() {
        let all: String = byte_characters().iter().collect();
        assert_eq!(bytes_of_token(&all), (0..=255u8).collect::<Vec<u8>>());
    }

    #[test]
    fn a_token_outside_the_map_is_its_own_bytes() {
        assert_eq!(bytes_of_token("a b"), b"a b");
    }
}
