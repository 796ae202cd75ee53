# One file per instruction set; everything else is built for the distribution's baseline. -fno-math-errno: no call into
# the library for the square root of a negative number; the value is the same.
set(fit_kernels ${CMAKE_CURRENT_SOURCE_DIR}/fit)
set_source_files_properties(${fit_kernels}/kernel_baseline.cpp PROPERTIES COMPILE_OPTIONS "-fno-math-errno")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(${fit_kernels}/kernel_avx2.cpp PROPERTIES
    COMPILE_OPTIONS "-fno-math-errno;-mavx2;-mfma")
  set_source_files_properties(${fit_kernels}/kernel_avx512.cpp PROPERTIES
    COMPILE_OPTIONS "-fno-math-errno;-mavx512f;-mavx512dq;-mfma;-mprefer-vector-width=512")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC's own header warns about itself: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105593
    set_property(SOURCE ${fit_kernels}/kernel_avx512.cpp APPEND PROPERTY COMPILE_OPTIONS "-Wno-maybe-uninitialized")
  endif()
else()
  set_source_files_properties(${fit_kernels}/kernel_avx2.cpp ${fit_kernels}/kernel_avx512.cpp PROPERTIES
    HEADER_FILE_ONLY ON)
endif()
