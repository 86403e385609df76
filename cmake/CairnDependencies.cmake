# What the core and the tool need. Nothing of it shows in a public header.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(LMDB REQUIRED IMPORTED_TARGET lmdb>=0.9.24)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash>=0.8.0)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1>=0.2.1)  # the tool alone
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd>=1.4.0)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib>=1.2.9)
find_package(fmt REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(CLI11 REQUIRED)

find_program(CAIRN_FLATC flatc REQUIRED)
find_path(CAIRN_FLATBUFFERS_INCLUDE_DIR flatbuffers/flatbuffers.h REQUIRED)
mark_as_advanced(CAIRN_FLATC CAIRN_FLATBUFFERS_INCLUDE_DIR)

# What the objects of the core compile against. (fmt is linked, not header-only: that would compile
# the whole of it in every unit, 3 s each.)
add_library(cairn_core_headers INTERFACE)
target_include_directories(cairn_core_headers SYSTEM INTERFACE ${CAIRN_FLATBUFFERS_INCLUDE_DIR})
target_link_libraries(cairn_core_headers INTERFACE
  PkgConfig::LMDB PkgConfig::XXHASH PkgConfig::ZSTD PkgConfig::ZLIB Threads::Threads
  fmt::fmt nlohmann_json::nlohmann_json)
