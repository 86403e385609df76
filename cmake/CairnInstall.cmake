# What `cmake --install` and `cpack` put where, in components: `tool`, `devel` (the core's headers and
# library), `torch_devel`, and of shared builds also `runtime` and `torch_runtime` (the libraries alone).
#
# Nothing that is installed names a directory of the machine that built it (tests/install holds that).

include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cairn)

# ---- tool and core --------------------------------------------------------------------------------
install(TARGETS cairn_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tool)
install(TARGETS cairn_core EXPORT cairn_core_targets
  LIBRARY COMPONENT runtime NAMELINK_COMPONENT devel
  ARCHIVE COMPONENT devel)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/cairn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT devel FILES_MATCHING PATTERN "*.h" PATTERN "torch" EXCLUDE)
install(EXPORT cairn_core_targets NAMESPACE cairn:: FILE cairn-core-targets.cmake
  DESTINATION ${config_dir} COMPONENT devel)

# Who links the static core links what it uses, too; a shared one brings that along.
if(BUILD_SHARED_LIBS)
  set(CAIRN_FIND_CORE_DEPENDENCIES "")
  set(CAIRN_PC_REQUIRES "")
  set(CAIRN_PC_LIBS "")
  # The tool and cairn::torch find the core beside them, wherever the whole is moved to.
  file(RELATIVE_PATH libdir_from_bindir /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
  if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set_target_properties(cairn_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${libdir_from_bindir}")
    if(CAIRN_HAVE_TORCH)
      set_target_properties(cairn_torch PROPERTIES INSTALL_RPATH "$ORIGIN")
    endif()
  endif()
else()
  file(READ ${CMAKE_CURRENT_LIST_DIR}/cairn-core-dependencies.cmake CAIRN_FIND_CORE_DEPENDENCIES)
  # Not Requires.private: without --static, too, there is only the static library to link.
  set(CAIRN_PC_REQUIRES "Requires: lmdb libxxhash libzstd zlib fmt")
  set(CAIRN_PC_LIBS " -pthread")
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/cairn-config.cmake.in
  ${PROJECT_BINARY_DIR}/cairn-config.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cairn-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cairn-config.cmake ${PROJECT_BINARY_DIR}/cairn-config-version.cmake
  DESTINATION ${config_dir} COMPONENT devel)

file(RELATIVE_PATH CAIRN_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" CAIRN_PC_PREFIX "${CAIRN_PC_PREFIX}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/cairn.pc.in ${PROJECT_BINARY_DIR}/cairn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cairn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT devel)

# ---- torch ----------------------------------------------------------------------------------------
if(CAIRN_HAVE_TORCH)
  install(TARGETS cairn_torch EXPORT cairn_torch_targets
    LIBRARY COMPONENT torch_runtime NAMELINK_COMPONENT torch_devel
    ARCHIVE COMPONENT torch_devel)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/cairn/torch DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cairn
    COMPONENT torch_devel FILES_MATCHING PATTERN "*.h")
  install(EXPORT cairn_torch_targets NAMESPACE cairn:: FILE cairn-torch-targets.cmake
    DESTINATION ${config_dir} COMPONENT torch_devel)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/cairn-torch.cmake.in ${PROJECT_BINARY_DIR}/cairn-torch.cmake @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/cairn-torch.cmake ${CMAKE_CURRENT_LIST_DIR}/CairnFindTorch.cmake
    DESTINATION ${config_dir} COMPONENT torch_devel)
endif()

if(PROJECT_IS_TOP_LEVEL)
  include(CairnPackage)
endif()
