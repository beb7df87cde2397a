# The three kinds of target this project has. Every one is compiled with all warnings as errors.

# Sources of a target are compiled together, ten at a time: most of what a source costs is the headers that all of them
# include. So a name in an anonymous namespace must be another one in each; where a file has reason to use a common one, it
# is named after ALONE and compiled by itself.
macro(conclave_sources)
  set_source_files_properties(${ARG_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  list(APPEND ARG_SOURCES ${ARG_ALONE})
endmacro()

function(conclave_options target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror
    # Of GCC: sources that are compiled together are no headers; and what it takes for uninitialized in a variant that is
    # moved from is not.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage> $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR}/src)
endfunction()

# conclave_library(name SOURCES a.cc ... [ALONE b.cc ...] DEPS lib ...)
function(conclave_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;ALONE;DEPS" ${ARGN})
  conclave_sources()
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    conclave_options(${name})
    target_link_libraries(${name} PUBLIC ${ARG_DEPS})
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
endfunction()

# conclave_test(name SOURCES a_test.cc ... [ALONE b_test.cc ...] DEPS lib ...): a GoogleTest program that ctest runs.
function(conclave_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;ALONE;DEPS" ${ARGN})
  conclave_sources()
  add_executable(${name} ${ARG_SOURCES})
  conclave_options(${name})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
endfunction()

# conclave_fuzzer(name SOURCES a_fuzz.cc DEPS lib ...): a libFuzzer target, built with -DCONCLAVE_FUZZ=ON.
# tests/fuzz runs each of them for a while.
function(conclave_fuzzer name)
  if(NOT CONCLAVE_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  conclave_options(${name})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set_property(GLOBAL APPEND PROPERTY CONCLAVE_FUZZERS ${name})
endfunction()

# conclave_proto(name file.proto ...): a library of generated code; include it as "<file>.pb.h".
function(conclave_proto name)
  add_library(${name} STATIC)
  target_compile_options(${name} PRIVATE -w)
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  foreach(file ${ARGN})
    get_filename_component(base ${file} NAME_WE)
    set(out ${CMAKE_CURRENT_BINARY_DIR}/${base}.pb.cc ${CMAKE_CURRENT_BINARY_DIR}/${base}.pb.h)
    add_custom_command(
      OUTPUT ${out}
      COMMAND protobuf::protoc --cpp_out=${CMAKE_CURRENT_BINARY_DIR} -I ${CMAKE_CURRENT_SOURCE_DIR}
              ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      VERBATIM)
    target_sources(${name} PRIVATE ${out})
  endforeach()
  target_include_directories(${name} SYSTEM PUBLIC ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf)
endfunction()
