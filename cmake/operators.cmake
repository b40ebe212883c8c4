# One folder of ops/ is one operator: op_<folder> from its .cc files, <folder>_test from test.cc and test_*.cc, and a place in
# op_bench for bench.cc.
# What it links to follows from the headers of other operators that it includes, so there is no list to edit.
#
# A file's name gives its instruction set:
set(SLUICE_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(SLUICE_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma)
set(SLUICE_FLAGS_avx512vnni ${SLUICE_FLAGS_avx512} -mavx512vnni)
set(SLUICE_FLAGS_avx512bf16 ${SLUICE_FLAGS_avx512} -mavx512bf16)
set(SLUICE_FLAGS_amx ${SLUICE_FLAGS_avx512bf16} -mamx-tile -mamx-bf16)

# The operators whose headers these files include.
function(sluice_included_ops out self)
  set(deps)
  foreach(f ${ARGN})
    file(STRINGS ${f} lines REGEX "^#include \"ops/[a-z0-9_]+/")
    foreach(line ${lines})
      string(REGEX REPLACE "^#include \"ops/([a-z0-9_]+)/.*" "\\1" dep "${line}")
      if(NOT dep STREQUAL self)
        list(APPEND deps op_${dep})
      endif()
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES deps)
  set(${out} ${deps} PARENT_SCOPE)
endfunction()

function(sluice_operators)
  file(GLOB folders CONFIGURE_DEPENDS LIST_DIRECTORIES true ${CMAKE_SOURCE_DIR}/ops/*)
  set(all)
  set(listed)
  set(benches)
  set(bench_deps)
  foreach(folder ${folders})
    if(NOT IS_DIRECTORY ${folder})
      continue()
    endif()
    get_filename_component(op ${folder} NAME)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cc)
    file(GLOB headers CONFIGURE_DEPENDS ${folder}/*.h)
    file(GLOB tests CONFIGURE_DEPENDS ${folder}/test.cc ${folder}/test_*.cc)
    list(REMOVE_ITEM sources ${tests} ${folder}/bench.cc)
    foreach(isa avx2 avx512 avx512vnni avx512bf16 amx)
      foreach(f ${sources})
        if(f MATCHES "_${isa}\\.cc$" OR f MATCHES "/${isa}\\.cc$")
          set_source_files_properties(${f} PROPERTIES COMPILE_OPTIONS "${SLUICE_FLAGS_${isa}}")
        endif()
      endforeach()
    endforeach()
    sluice_kernels(kernels ${folder})
    list(APPEND sources ${kernels})
    file(GLOB device_headers CONFIGURE_DEPENDS ${folder}/*.cuh)
    sluice_included_ops(deps ${op} ${sources} ${headers} ${device_headers})
    if(sources)
      add_library(op_${op} STATIC ${sources})
      target_link_libraries(op_${op} PUBLIC sluice_core ${deps})
    else()
      add_library(op_${op} INTERFACE)
      target_link_libraries(op_${op} INTERFACE sluice_core ${deps})
    endif()
    list(APPEND all op_${op})
    if(EXISTS ${folder}/impls.cc)
      list(APPEND listed ${op})
    endif()
    if(tests)
      sluice_included_ops(test_deps ${op} ${tests})
      sluice_test(${op}_test "${tests}" op_${op} ${test_deps})
    endif()
    if(EXISTS ${folder}/bench.cc)
      list(APPEND benches ${folder}/bench.cc)
      sluice_included_ops(more ${op} ${folder}/bench.cc)
      list(APPEND bench_deps op_${op} ${more})
    endif()
  endforeach()

  # all_ops(): every operator that has an impls.cc, for listings.
  list(SORT listed)
  set(declarations "")
  set(entries "")
  foreach(op ${listed})
    string(APPEND declarations "OpInfo ${op}_op_info();\n")
    string(APPEND entries "    ${op}_op_info(),\n")
  endforeach()
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/generated/all_ops.cc CONTENT
"// Written by cmake/operators.cmake.
#include \"core/impl.h\"
namespace sluice {
${declarations}
std::vector<OpInfo> all_ops() {
  return {
${entries}  };
}
}  // namespace sluice
")
  add_library(sluice_ops STATIC ${CMAKE_BINARY_DIR}/generated/all_ops.cc)
  target_link_libraries(sluice_ops PUBLIC ${all})

  if(SLUICE_BENCHES AND benches)
    find_package(benchmark REQUIRED)
    list(REMOVE_DUPLICATES bench_deps)
    file(GLOB harness CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/*.cc)
    list(FILTER harness EXCLUDE REGEX "_test\\.cc$")
    add_library(bench_cases OBJECT ${benches})
    target_link_libraries(bench_cases PUBLIC ${bench_deps} sluice_ops benchmark::benchmark)
    add_executable(op_bench ${harness} ${CMAKE_SOURCE_DIR}/cli/plot.cc)
    target_link_libraries(op_bench PRIVATE bench_cases sluice_io CLI11::CLI11 fmt::fmt)
  endif()
endfunction()
