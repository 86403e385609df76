# cairn_find_torch([QUIET] [REQUIRED]): find_package(Torch), and what its packages need besides.
#
# Sets CAIRN_TORCH_LIBRARIES, what to link. Installed, too: programs find the same LibTorch in the same way.

macro(cairn_find_torch)
  # TorchConfig of pip's torch warns that a static library is absent which nothing needs.
  set(kineto_LIBRARY unused)
  # TorchConfig asks the system's directories for its other half before its own: a LibTorch that Torch_DIR
  # names would be linked with Debian's libraries.
  if(Torch_DIR AND EXISTS "${Torch_DIR}/../Caffe2/Caffe2Config.cmake")
    get_filename_component(Caffe2_DIR "${Torch_DIR}/../Caffe2" ABSOLUTE)
  endif()
  find_package(Torch ${ARGN})

  # Not TORCH_LIBRARIES: TorchConfig adds to it whatever libc10.so the system's directories hold, so a
  # LibTorch elsewhere would be mixed with Debian's and fail while it starts. The targets bring their own.
  set(CAIRN_TORCH_LIBRARIES torch torch_library)

  # caffe2::mkl of newer releases names directories under "/lib" that exist nowhere when MKL is absent;
  # they would end up in every run path.
  if(TARGET caffe2::mkl)
    get_target_property(cairn_mkl_dirs caffe2::mkl INTERFACE_LINK_DIRECTORIES)
    set(cairn_existing_mkl_dirs)
    foreach(cairn_dir IN LISTS cairn_mkl_dirs)
      if(IS_DIRECTORY "${cairn_dir}")
        list(APPEND cairn_existing_mkl_dirs "${cairn_dir}")
      endif()
    endforeach()
    set_target_properties(caffe2::mkl PROPERTIES INTERFACE_LINK_DIRECTORIES "${cairn_existing_mkl_dirs}")
  endif()
endmacro()
