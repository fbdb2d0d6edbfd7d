//! Which activations a training step keeps, and which it computes a second time.
//!
//! Gradient checkpointing by block (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): the layers are cut into segments; the forward pass
//! keeps the input of each segment, and the backward pass runs a segment forward once more, this time keeping everything, before it goes back through it. Not to
//! be confused with checkpoints, which are folders on disk ([`CheckpointConfig`](crate::CheckpointConfig)).

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// How the layers are cut into segments of which only the input is kept. Written and read as `off`, `balanced`, `aggressive`, `every-3`, or `0,4,8`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GradientCheckpointing {
    /// One segment: everything is kept and nothing computed twice.
    #[default]
    Off,
    /// About the square root of the number of layers in segments of about that many layers: the least memory when what a segment keeps and the kept inputs
    /// weigh the same.
    Balanced,
    /// Each layer is a segment: the least memory.
    Aggressive,
    /// Segments of this many layers, the last one perhaps shorter.
    Every(usize),
    /// The layers that begin a segment, layer 0 first.
    Starts(Vec<usize>),
}

/// What a policy may be, for messages.
const FORMS: &str = "it is off, balanced, aggressive, every-N (segments of N layers) or the layers that begin a segment, as in 0,4,8";

impl GradientCheckpointing {
    /// Checks a policy against the number of layers of the model.
    pub fn validate(&self, n_layers: usize) -> Result<(), ConfigError> {
        let refused =
            |reason: String| Err(ConfigError::invalid("gradient_checkpointing", self, reason));
        match self {
            Self::Every(0) => refused("a segment has at least one layer".to_owned()),
            Self::Starts(starts) => {
                if starts.first() != Some(&0) {
                    return refused("the first segment begins with layer 0".to_owned());
                }
                if let Some(pair) = starts.windows(2).find(|pair| pair[0] >= pair[1]) {
                    return refused(format!(
                        "layer {} cannot begin a segment after layer {}: give the layers in their order",
                        pair[1], pair[0]
                    ));
                }
                match starts.last() {
                    Some(&last) if last >= n_layers => refused(format!(
                        "there is no layer {last}: the model has {n_layers}, counted from 0"
                    )),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// The segments of a model of `n_layers` layers, in order: together they are all layers. A policy that does not fit the model ([`validate`](Self::validate))
    /// gives segments all the same, without what does not fit.
    pub fn segments(&self, n_layers: usize) -> Vec<Range<usize>> {
        let every = |length: usize| (0..n_layers).step_by(length.max(1)).collect::<Vec<_>>();
        let mut starts = match self {
            Self::Off => vec![0],
            // Segments of nearly equal length: 12 layers in 4 times 3, 24 in 5 of 4 or 5.
            Self::Balanced => {
                let count = (n_layers as f64).sqrt().ceil().max(1.0) as usize;
                (0..count).map(|i| i * n_layers / count).collect()
            }
            Self::Aggressive => every(1),
            Self::Every(length) => every(*length),
            Self::Starts(starts) => starts.clone(),
        };
        starts.retain(|start| *start < n_layers);
        if starts.first() != Some(&0) {
            starts.insert(0, 0);
        }
        starts.sort_unstable();
        starts.dedup();
        let ends = starts.iter().skip(1).copied().chain([n_layers]);
        starts
            .iter()
            .zip(ends)
            .map(|(start, end)| *start..end)
            .collect()
    }
}

impl fmt::Display for GradientCheckpointing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Balanced => f.write_str("balanced"),
            Self::Aggressive => f.write_str("aggressive"),
            Self::Every(length) => write!(f, "every-{length}"),
            Self::Starts(starts) => {
                for (i, start) in starts.iter().enumerate() {
                    write!(f, "{}{start}", if i > 0 { "," } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for GradientCheckpointing {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = || ConfigError::invalid("gradient_checkpointing", text, FORMS);
        match text {
            "off" => Ok(Self::Off),
            "balanced" => Ok(Self::Balanced),
            "aggressive" => Ok(Self::Aggressive),
            _ => match text.strip_prefix("every-") {
                Some(length) => match length.parse() {
                    Ok(length) if length > 0 => Ok(Self::Every(length)),
                    _ => Err(refused()),
                },
                None => text
                    .split(',')
                    .map(|start| start.trim().parse::<usize>())
                    .collect::<Result<_, _>>()
                    .map(Self::Starts)
                    .map_err(|_| refused()),
            },
        }
    }
}

impl TryFrom<String> for GradientCheckpointing {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<GradientCheckpointing> for String {
    fn from(policy: GradientCheckpointing) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> GradientCheckpointing {
        text.parse().unwrap()
    }

    fn lengths(text: &str, n_layers: usize) -> Vec<usize> {
        policy(text)
            .segments(n_layers)
            .iter()
            .map(Range::len)
            .collect()
    }

    #[test]
    fn segments_cover_all_layers_in_order() {
        assert_eq!(lengths("off", 12), [12]);
        assert_eq!(lengths("balanced", 12), [3, 3, 3, 3]);
        assert_eq!(lengths("balanced", 24), [4, 5, 5, 5, 5]);
        assert_eq!(lengths("aggressive", 3), [1, 1, 1]);
        assert_eq!(lengths("every-5", 12), [5, 5, 2]);
        assert_eq!(lengths("0,1,9", 12), [1, 8, 3]);
        let texts = ["off", "balanced", "aggressive", "every-4", "0,2"];
        for (text, n_layers) in texts
            .iter()
            .flat_map(|text| (1..30).map(move |n| (text, n)))
        {
            let segments = policy(text).segments(n_layers);
            let layers: Vec<usize> = segments.into_iter().flatten().collect();
            assert!(layers.into_iter().eq(0..n_layers), "{text} of {n_layers}");
        }
    }

    #[test]
    fn text_and_json_come_back() {
        for text in ["off", "balanced", "aggressive", "every-7", "0,4,8"] {
            assert_eq!(policy(text).to_string(), text);
            let json = serde_json::to_string(&policy(text)).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(
                serde_json::from_str::<GradientCheckpointing>(&json).unwrap(),
                policy(text)
            );
        }
    }

    #[test]
    fn what_cannot_be_is_refused_and_says_what_can() {
        for text in [
            "", "on", "every-0", "every-", "every-x", "1;2", "0,,1", "-1",
        ] {
            let error = text
                .parse::<GradientCheckpointing>()
                .unwrap_err()
                .to_string();
            assert!(error.contains("every-N"), "{text}: {error}");
        }
        let refusals = [
            ("1,2", "begins with layer 0"),
            ("0,3,3", "in their order"),
            ("0,12", "there is no layer 12: the model has 12"),
        ];
        for (text, expected) in refusals {
            let error = policy(text).validate(12).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for text in ["off", "every-99", "0,11"] {
            policy(text).validate(12).unwrap();
        }
    }
}
