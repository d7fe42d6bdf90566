//! A bloom filter over row keys: ten bits a key, about one false "maybe" in a hundred, never a false "no".

use bytes::Bytes;

const BITS_PER_KEY: usize = 10;
const PROBES: u32 = 7;

/// Hash of a row key, as the filter takes it.
pub(crate) fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// Makes the filter's bits.
pub(crate) fn build(hashes: &[u64]) -> Vec<u8> {
    let mut bits = vec![0u8; (hashes.len() * BITS_PER_KEY).div_ceil(8).max(8)];
    for hash in hashes {
        for bit in probes(*hash, bits.len() * 8) {
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    bits
}

/// Whether the key may be there.
pub(crate) fn may_hold(filter: &Bytes, hash: u64) -> bool {
    filter.is_empty() || probes(hash, filter.len() * 8).all(|bit| filter[bit / 8] & (1 << (bit % 8)) != 0)
}

/// Double hashing: both halves of the hash make all probes.
fn probes(hash: u64, bits: usize) -> impl Iterator<Item = usize> {
    let step = (hash >> 32) | 1;
    (0..PROBES).map(move |probe| (hash.wrapping_add(step.wrapping_mul(probe.into())) % bits as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_denies_what_is_there_and_seldom_affirms_what_is_not() {
        let hashes: Vec<u64> = (0..1000u32).map(|key| hash(&key.to_be_bytes())).collect();
        let filter = Bytes::from(build(&hashes));
        assert!(hashes.iter().all(|hash| may_hold(&filter, *hash)));
        let wrong = (1000..11_000u32).filter(|key| may_hold(&filter, hash(&key.to_be_bytes()))).count();
        assert!(wrong < 300, "{wrong} of 10000");
    }
}
