# The code blocks of the pages, as sources of cairn_docs_test: see extract_blocks.py.
file(GLOB pages CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
  ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/docs/*.md)
foreach(page IN LISTS pages)
  get_filename_component(name ${page} NAME_WE)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/docs/${name}.cc)
  add_custom_command(
    OUTPUT ${source}
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/docs/extract_blocks.py
            ${PROJECT_SOURCE_DIR} ${page} ${source}
    DEPENDS docs/extract_blocks.py ${PROJECT_SOURCE_DIR}/${page}
    COMMENT "blocks of ${page}"
    VERBATIM)
  target_sources(cairn_docs_test PRIVATE ${source})
  # A page names what it does not use, and a block may call its own variable as the setup calls one.
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
    "-Wno-shadow;-Wno-unused-variable;-Wno-unused-but-set-variable")
endforeach()
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/docs)

add_test(NAME docs/extract_blocks_test
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/docs/extract_blocks_test.py)
set_tests_properties(docs/extract_blocks_test PROPERTIES LABELS torch TIMEOUT 900)

target_compile_definitions(cairn_docs_test PRIVATE CAIRN_CXX_COMPILER="${CMAKE_CXX_COMPILER}"
  CAIRN_CMAKE_COMMAND="${CMAKE_COMMAND}" CAIRN_CMAKE_GENERATOR="${CMAKE_GENERATOR}")
# What the pages run.
if(TARGET example_space)
  add_dependencies(cairn_docs_test example_space)
endif()
