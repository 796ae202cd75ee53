// AVX2 and FMA: compiled with -mavx2 -mfma, run only after the processor has been asked (kernel.cpp).
#include <immintrin.h>

#include "fit/kernel.hpp"
#include "fit/kernel_scalar.inl"

namespace regfeatd::fit {
namespace {

struct Avx2 {
  struct Mask {
    __m256d m;
  };
  static constexpr std::size_t kLanes = 4;
  __m256d v;

  static REGFEATD_INLINE Avx2 load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static REGFEATD_INLINE Avx2 set(double x) { return {_mm256_set1_pd(x)}; }
  static REGFEATD_INLINE Avx2 iota() { return {_mm256_setr_pd(0, 1, 2, 3)}; }
  REGFEATD_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }

  friend REGFEATD_INLINE Avx2 operator+(Avx2 a, Avx2 b) { return {_mm256_add_pd(a.v, b.v)}; }
  friend REGFEATD_INLINE Avx2 operator-(Avx2 a, Avx2 b) { return {_mm256_sub_pd(a.v, b.v)}; }
  friend REGFEATD_INLINE Avx2 operator*(Avx2 a, Avx2 b) { return {_mm256_mul_pd(a.v, b.v)}; }
  friend REGFEATD_INLINE Avx2 operator/(Avx2 a, Avx2 b) { return {_mm256_div_pd(a.v, b.v)}; }
  friend REGFEATD_INLINE Mask operator<(Avx2 a, Avx2 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)}; }
  friend REGFEATD_INLINE Mask operator<=(Avx2 a, Avx2 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ)}; }
  static REGFEATD_INLINE Avx2 fma(Avx2 a, Avx2 b, Avx2 c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
  static REGFEATD_INLINE Avx2 fnma(Avx2 a, Avx2 b, Avx2 c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
  static REGFEATD_INLINE Avx2 fms(Avx2 a, Avx2 b, Avx2 c) { return {_mm256_fmsub_pd(a.v, b.v, c.v)}; }
  static REGFEATD_INLINE Avx2 sqrt(Avx2 a) { return {_mm256_sqrt_pd(a.v)}; }
  static REGFEATD_INLINE Avx2 abs(Avx2 a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }
  static REGFEATD_INLINE Avx2 min(Avx2 a, Avx2 b) { return {_mm256_min_pd(a.v, b.v)}; }
  static REGFEATD_INLINE Avx2 max(Avx2 a, Avx2 b) { return {_mm256_max_pd(a.v, b.v)}; }
  static REGFEATD_INLINE Avx2 select(Mask m, Avx2 yes, Avx2 no) { return {_mm256_blendv_pd(no.v, yes.v, m.m)}; }
  static REGFEATD_INLINE bool any(Mask m) { return _mm256_movemask_pd(m.m) != 0; }
  static REGFEATD_INLINE Mask both(Mask a, Mask b) { return {_mm256_and_pd(a.m, b.m)}; }
  static REGFEATD_INLINE Mask either(Mask a, Mask b) { return {_mm256_or_pd(a.m, b.m)}; }
};

}  // namespace
}  // namespace regfeatd::fit

// clang-format off
#include "fit/kernel_direct.inl"
#include "fit/kernel_derive.inl"
#include "fit/kernel_block.inl"
// clang-format on

namespace regfeatd::fit {

constexpr std::size_t kAvx2Group = 2;  // vectors of windows that share the basis; 1, 3 and 4 are slower (docs/fit.md)

const Kernel kKernelAvx2{"avx2",
                         direct<Avx2, kAvx2Group>,
                         kAvx2Group* Avx2::kLanes,
                         {derive_coefficients<Avx2>, derive_terms<Avx2>, derive_legacy_terms<Avx2>,
                          derive_inference<Avx2>, derive_stored<Avx2>},
                         prefix_moments,
                         suffix_moments,
                         block<Avx2>};

}  // namespace regfeatd::fit
