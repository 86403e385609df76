# Debian packages of a static build, by `cpack` in the build directory. Configured with
# -DCMAKE_INSTALL_PREFIX=/usr, libraries go where Debian has them for the architecture.
#
#   cairn               the tool
#   libcairn-dev        headers and library of the core, CMake and pkg-config files
#   libcairn-torch-dev  the same of cairn::torch; only of builds with LibTorch
if(BUILD_SHARED_LIBS)
  return()  # A distribution that splits shared libraries off has rules of its own for that.
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME cairn)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The Cairn authors <cairn@users.noreply.github.com>" CACHE STRING
  "Maintainer, as the packages name it")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "crash-safe checkpoint store for training jobs")
set(about "A C++20 library, a LibTorch checkpointer on top of it, and a command-line tool.
A job saves often, keeps only what it wants, is killed at any moment, and
starts again from the newest checkpoint that is proven intact.
.
This package holds")

set(CPACK_COMPONENTS_ALL tool devel)
set(CPACK_DEBIAN_TOOL_PACKAGE_NAME cairn)
set(CPACK_DEBIAN_TOOL_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOL_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_TOOL_DESCRIPTION "${about} the tool.")
set(CPACK_DEBIAN_DEVEL_PACKAGE_NAME libcairn-dev)
set(CPACK_DEBIAN_DEVEL_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVEL_PACKAGE_DEPENDS "liblmdb-dev, libxxhash-dev, libzstd-dev, zlib1g-dev, libfmt-dev, pkg-config")
set(CPACK_DEBIAN_DEVEL_DESCRIPTION "${about} the C++ library.")
if(CAIRN_HAVE_TORCH)
  list(APPEND CPACK_COMPONENTS_ALL torch_devel)
  set(CPACK_DEBIAN_TORCH_DEVEL_PACKAGE_NAME libcairn-torch-dev)
  set(CPACK_DEBIAN_TORCH_DEVEL_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_TORCH_DEVEL_PACKAGE_DEPENDS "libcairn-dev (= ${PROJECT_VERSION}), libtorch-dev")
  set(CPACK_DEBIAN_TORCH_DEVEL_DESCRIPTION "${about} the LibTorch checkpointer.")
endif()

# What Debian wants in every package, and a plain `cmake --install` leaves out.
string(TIMESTAMP now "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE ${PROJECT_BINARY_DIR}/package/changelog "cairn (${PROJECT_VERSION}) unstable; urgency=medium

  * Version ${PROJECT_VERSION}; CHANGELOG.md in the source says what is new.

 -- ${CPACK_PACKAGE_CONTACT}  ${now}
")
file(ARCHIVE_CREATE OUTPUT ${PROJECT_BINARY_DIR}/package/changelog.gz
  PATHS ${PROJECT_BINARY_DIR}/package/changelog
  FORMAT raw COMPRESSION GZip COMPRESSION_LEVEL 9)
file(WRITE ${PROJECT_BINARY_DIR}/package/copyright
  "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Cairn

Files: *
Copyright: The Cairn authors
License: Apache-2.0
 Licensed under the Apache License, Version 2.0. On Debian systems its text is in
 /usr/share/common-licenses/Apache-2.0.
")
foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  string(TOUPPER ${component} upper)
  install(FILES ${PROJECT_BINARY_DIR}/package/copyright ${PROJECT_BINARY_DIR}/package/changelog.gz
    DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME}
    COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()

include(CPack)
