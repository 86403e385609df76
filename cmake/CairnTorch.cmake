# Finds LibTorch: Debian's libtorch-dev, the one inside pip's torch, or any other by CMAKE_PREFIX_PATH.
#
# Sets CAIRN_HAVE_TORCH, and by CairnFindTorch CAIRN_TORCH_LIBRARIES, and defines cairn_precompile_torch(target).

set(CAIRN_HAVE_TORCH OFF)
include(CairnFindTorch)
if(CAIRN_WITH_TORCH STREQUAL "AUTO")
  cairn_find_torch(QUIET)
else()
  cairn_find_torch(REQUIRED)
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
