// The instruction set that every processor of the distribution has. std::fma is a function call here (exact
// in software where the processor has no such instruction): slow, and bit for bit what the others compute.
#include "fit/kernel.hpp"

// clang-format off
#include "fit/kernel_scalar.inl"
#include "fit/kernel_direct.inl"
#include "fit/kernel_derive.inl"
#include "fit/kernel_block.inl"
// clang-format on

namespace regfeatd::fit {

const Kernel kKernelBaseline{"baseline",
                             direct<Scalar, 1>,
                             1,
                             {derive_coefficients<Scalar>, derive_terms<Scalar>, derive_legacy_terms<Scalar>,
                              derive_inference<Scalar>, derive_stored<Scalar>},
                             prefix_moments,
                             suffix_moments,
                             block<Scalar>};

}  // namespace regfeatd::fit
