# Files of a folder as constants of the program: sluice_embed(TARGET NAME FOLDER) adds a source that defines NAME_files() of
# server/embedded.h. The writing is done by this same file at build time, as a script.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  function(sluice_embed target name folder)
    file(GLOB names CONFIGURE_DEPENDS RELATIVE ${folder} ${folder}/*)
    list(TRANSFORM names PREPEND ${folder}/ OUTPUT_VARIABLE files)
    set(out ${CMAKE_BINARY_DIR}/generated/${name}_files.cc)
    set(script ${CMAKE_SOURCE_DIR}/cmake/embed.cmake)
    # The names stand in the command so that it runs again when one has gone.
    add_custom_command(OUTPUT ${out} COMMAND ${CMAKE_COMMAND} -DNAME=${name} -DFOLDER=${folder} "-DFILES=${names}" -DOUT=${out} -P ${script}
                       DEPENDS ${files} ${script} COMMENT "Embedding ${folder}" VERBATIM)
    target_sources(${target} PRIVATE ${out})
  endfunction()
  return()
endif()

cmake_minimum_required(VERSION 3.25)
set(delimiter "sluice_file")
set(rows "")
foreach(name ${FILES})
  file(READ ${FOLDER}/${name} text)
  file(SHA256 ${FOLDER}/${name} hash)
  string(SUBSTRING ${hash} 0 16 hash)
  string(FIND "${text}" ")${delimiter}\"" found)
  if(NOT found EQUAL -1)
    message(FATAL_ERROR "${name} holds the end mark of its own literal, )${delimiter}\"")
  endif()
  # A literal's first line break would be part of the text: none is written.
  string(APPEND rows "    {\"${name}\", \"\\\"${hash}\\\"\", R\"${delimiter}(${text})${delimiter}\"},\n")
endforeach()
file(WRITE ${OUT} "// Written by cmake/embed.cmake.\n#include \"server/embedded.h\"\n\nnamespace sluice {\nnamespace {\n\n"
     "constexpr EmbeddedFile kFiles[] = {\n${rows}};\n\n}  // namespace\n\n"
     "std::span<const EmbeddedFile> ${NAME}_files() { return kFiles; }\n\n}  // namespace sluice\n")
