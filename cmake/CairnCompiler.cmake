# Compiler settings: warnings for Cairn's own code, sanitizers, ccache.

# Warnings apply to targets that link cairn_warnings, never to what is included from elsewhere.
add_library(cairn_warnings INTERFACE)
target_compile_options(cairn_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align
  -Wimplicit-fallthrough -Wunused -Wformat=2 -Wundef -Wvla
  # Options are passed as designated initializers that leave fields at their defaults.
  -Wno-missing-field-initializers)
if(CAIRN_WERROR)
  target_compile_options(cairn_warnings INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(cairn_warnings INTERFACE -Wduplicated-cond -Wlogical-op -Wsuggest-override)
  # These come out of the optimizer and are wrong too often to fail a build. GCC 12 reports
  # -Wrestrict for "literal" + std::string (GCC bug 105329).
  target_compile_options(cairn_warnings INTERFACE
    -Wno-error=array-bounds -Wno-error=stringop-overflow -Wno-error=stringop-overread
    -Wno-error=maybe-uninitialized -Wno-error=free-nonheap-object -Wno-restrict)
  if(CAIRN_SANITIZE)
    target_compile_options(cairn_warnings INTERFACE
      -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread -Wno-maybe-uninitialized)
  endif()
endif()

if(CAIRN_SANITIZE)
  add_compile_options(-fsanitize=${CAIRN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${CAIRN_SANITIZE} -fno-sanitize-recover=all)
endif()

# No directory of the build machine in what is built; it also lets ccache serve a fresh clone.
add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
cmake_path(IS_PREFIX PROJECT_SOURCE_DIR ${PROJECT_BINARY_DIR} NORMALIZE build_is_inside)
if(NOT build_is_inside)
  add_compile_options(-ffile-prefix-map=${PROJECT_BINARY_DIR}=build)
endif()

set(CAIRN_USES_CCACHE OFF)
if(CAIRN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(CAIRN_CCACHE_PROGRAM ccache)
  mark_as_advanced(CAIRN_CCACHE_PROGRAM)
  if(CAIRN_CCACHE_PROGRAM)
    set(CAIRN_USES_CCACHE ON)
    # The sloppiness is what ccache's manual asks for with precompiled headers.
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}
      CCACHE_NOHASHDIR=1
      ${CAIRN_CCACHE_PROGRAM})
  endif()
endif()
