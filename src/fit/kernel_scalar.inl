// A "vector" of one lane: the whole baseline kernel, and the remainders of the others.
#define REGFEATD_INLINE inline __attribute__((always_inline))

namespace regfeatd::fit {
namespace {

struct Scalar {
  using Mask = bool;
  static constexpr std::size_t kLanes = 1;
  double v;

  static REGFEATD_INLINE Scalar load(const double* p) { return {*p}; }
  static REGFEATD_INLINE Scalar set(double x) { return {x}; }
  static REGFEATD_INLINE Scalar iota() { return {0.0}; }
  REGFEATD_INLINE void store(double* p) const { *p = v; }

  friend REGFEATD_INLINE Scalar operator+(Scalar a, Scalar b) { return {a.v + b.v}; }
  friend REGFEATD_INLINE Scalar operator-(Scalar a, Scalar b) { return {a.v - b.v}; }
  friend REGFEATD_INLINE Scalar operator*(Scalar a, Scalar b) { return {a.v * b.v}; }
  friend REGFEATD_INLINE Scalar operator/(Scalar a, Scalar b) { return {a.v / b.v}; }
  friend REGFEATD_INLINE Mask operator<(Scalar a, Scalar b) { return a.v < b.v; }
  friend REGFEATD_INLINE Mask operator<=(Scalar a, Scalar b) { return a.v <= b.v; }
  static REGFEATD_INLINE Scalar fma(Scalar a, Scalar b, Scalar c) { return {__builtin_fma(a.v, b.v, c.v)}; }
  static REGFEATD_INLINE Scalar fnma(Scalar a, Scalar b, Scalar c) { return {__builtin_fma(-a.v, b.v, c.v)}; }
  static REGFEATD_INLINE Scalar fms(Scalar a, Scalar b, Scalar c) { return {__builtin_fma(a.v, b.v, -c.v)}; }
  static REGFEATD_INLINE Scalar sqrt(Scalar a) { return {__builtin_sqrt(a.v)}; }
  static REGFEATD_INLINE Scalar abs(Scalar a) { return {__builtin_fabs(a.v)}; }
  // As minpd and maxpd: the second operand where either is NaN.
  static REGFEATD_INLINE Scalar min(Scalar a, Scalar b) { return {a.v < b.v ? a.v : b.v}; }
  static REGFEATD_INLINE Scalar max(Scalar a, Scalar b) { return {a.v > b.v ? a.v : b.v}; }
  static REGFEATD_INLINE Scalar select(Mask m, Scalar yes, Scalar no) { return m ? yes : no; }
  static REGFEATD_INLINE bool any(Mask m) { return m; }
  static REGFEATD_INLINE Mask both(Mask a, Mask b) { return a && b; }
  static REGFEATD_INLINE Mask either(Mask a, Mask b) { return a || b; }
};

}  // namespace
}  // namespace regfeatd::fit
