//! The kernels of `shaders/`: one constant per permutation, written by `build.rs`.

use crate::kernel::{Access, Binding, Element, Kernel, Scalar};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
