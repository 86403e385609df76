# Finds LibTorch: Debian's libtorch-dev, the one inside pip's torch, or any other by CMAKE_PREFIX_PATH.
#
# Sets CAIRN_HAVE_TORCH and CAIRN_TORCH_LIBRARIES, and defines cairn_precompile_torch(target).

set(CAIRN_HAVE_TORCH OFF)
# TorchConfig of pip's torch warns that a static library is absent which nothing needs.
set(kineto_LIBRARY unused)
if(CAIRN_WITH_TORCH STREQUAL "AUTO")
  find_package(Torch QUIET)
else()
  find_package(Torch REQUIRED)
endif()
if(NOT TARGET torch)
  message(STATUS "LibTorch: not found; building without cairn::torch")
  return()
endif()
set(CAIRN_HAVE_TORCH ON)

if(TORCH_CXX_FLAGS MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
  message(FATAL_ERROR
    "The LibTorch at ${TORCH_INSTALL_PREFIX} was built for the old C++ ABI "
    "(_GLIBCXX_USE_CXX11_ABI=0), with which nothing else here can be linked. "
    "Take a build for the C++11 ABI, or set CAIRN_WITH_TORCH=OFF.")
endif()

# Not TORCH_LIBRARIES: TorchConfig adds to it whatever libc10.so the system's directories hold, so a
# LibTorch elsewhere would be mixed with Debian's and fail while it starts. The targets bring their own.
set(CAIRN_TORCH_LIBRARIES torch torch_library)

# caffe2::mkl of newer releases names directories under "/lib" that exist nowhere when MKL is absent;
# they would end up in every run path.
if(TARGET caffe2::mkl)
  get_target_property(mkl_dirs caffe2::mkl INTERFACE_LINK_DIRECTORIES)
  set(existing_mkl_dirs)
  foreach(dir IN LISTS mkl_dirs)
    if(IS_DIRECTORY "${dir}")
      list(APPEND existing_mkl_dirs "${dir}")
    endif()
  endforeach()
  set_target_properties(caffe2::mkl PROPERTIES INTERFACE_LINK_DIRECTORIES "${existing_mkl_dirs}")
endif()

get_target_property(torch_location torch LOCATION)
message(STATUS "LibTorch: ${Torch_VERSION} at ${torch_location}")

# One precompiled <torch/torch.h> for everything that includes it: a unit takes 25 s without.
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/placeholder/torch_pch.cc CONTENT "namespace cairn {}\n")
add_library(cairn_torch_pch OBJECT ${PROJECT_BINARY_DIR}/placeholder/torch_pch.cc)
target_link_libraries(cairn_torch_pch PRIVATE cairn_warnings ${CAIRN_TORCH_LIBRARIES})
target_precompile_headers(cairn_torch_pch PRIVATE <torch/torch.h>)
if(CAIRN_USES_CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(cairn_torch_pch PRIVATE -fpch-preprocess)
endif()

function(cairn_precompile_torch target)
  target_precompile_headers(${target} REUSE_FROM cairn_torch_pch)
  # GCC takes a precompiled header only with the -fPIC it was made with; CMake says -fPIE for programs.
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
  if(CAIRN_USES_CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
endfunction()
