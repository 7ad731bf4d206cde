//! A random number generator for the simulated network. Its numbers depend on the seed only.

/// Steele, Lea and Flood's generator ("Fast splittable pseudorandom number generators", 2014). Its
/// numbers are the same on every machine.
#[derive(Debug)]
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 inclusive to 1 exclusive.
    pub(super) fn fraction(&mut self) -> f64 {
        // The upper 53 bits, because a double has 53 bits of precision.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn fractions_fill_the_range() {
        let mut random = SplitMix64(1);
        let fractions: Vec<f64> = std::iter::repeat_with(|| random.fraction())
            .take(100_000)
            .collect();
        assert!(
            fractions
                .iter()
                .all(|fraction| (0.0..1.0).contains(fraction))
        );
        for tenth in 0..10 {
            let count = fractions
                .iter()
                .filter(|fraction| (*fraction * 10.0) as usize == tenth)
                .count();
            // Five standard deviations of a fair draw, which is 95.
            assert!(
                (10_000 - 475..10_000 + 475).contains(&count),
                "{count} of 100,000 are in tenth {tenth}"
            );
        }
    }
}
