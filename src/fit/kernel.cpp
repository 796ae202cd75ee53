#include "fit/kernel.hpp"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::fit {
namespace {

const Kernel* forced_kernel = nullptr;

#if defined(__x86_64__)
bool runs_avx2() noexcept { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool runs_avx512() noexcept {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}
#endif

const Kernel& choose_kernel() {
  const char* name = std::getenv("REGFEATD_KERNEL");
  if (name == nullptr || *name == '\0') {
#if defined(__x86_64__)
    if (runs_avx512()) return kKernelAvx512;
    if (runs_avx2()) return kKernelAvx2;
#endif
    return kKernelBaseline;
  }
  if (const Kernel* kernel = find_kernel(name)) return *kernel;
  throw std::invalid_argument("REGFEATD_KERNEL=" + std::string(name) +
                              ": no such instruction set, or this processor lacks it; use baseline, avx2 or avx512");
}

}  // namespace

const Kernel* find_kernel(const char* name) noexcept {
  if (std::strcmp(name, "baseline") == 0) return &kKernelBaseline;
#if defined(__x86_64__)
  if (std::strcmp(name, "avx2") == 0 && runs_avx2()) return &kKernelAvx2;
  if (std::strcmp(name, "avx512") == 0 && runs_avx512()) return &kKernelAvx512;
#endif
  return nullptr;
}

const Kernel& active_kernel() {
  if (forced_kernel != nullptr) return *forced_kernel;
  static const Kernel& kernel = choose_kernel();
  return kernel;
}

void force_kernel(const Kernel* kernel) noexcept { forced_kernel = kernel; }

std::string_view kernel_name() { return active_kernel().name; }

}  // namespace regfeatd::fit
