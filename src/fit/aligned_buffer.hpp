#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace regfeatd::fit {

/// Doubles on 64-byte boundaries that only ever grow; growing forgets the contents.
class AlignedBuffer {
 public:
  void reserve(std::size_t size) {
    if (size <= size_) return;
    data_.reset(static_cast<double*>(::operator new[](size * sizeof(double), std::align_val_t{64})));
    size_ = size;
  }
  [[nodiscard]] double* data() noexcept { return data_.get(); }

 private:
  struct Free {
    void operator()(double* p) const noexcept { ::operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<double[], Free> data_;
  std::size_t size_ = 0;
};

}  // namespace regfeatd::fit
