# What is installed, and the Debian package: `./dev package`, or the target `package`. tests/package/ holds it to its list of files.
include(GNUInstallDirs)

# Man pages and completions are written by the program itself.
set(share ${CMAKE_BINARY_DIR}/share)
set(commands)
foreach(shell bash zsh fish)
  list(APPEND commands COMMAND sluice completion ${shell} > ${share}/completion.${shell})
endforeach()
file(GLOB manual CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/manual/*.txt)
add_custom_command(OUTPUT ${share}/stamp
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${share}
  COMMAND sluice help --man-pages ${share}/man1
  ${commands}
  COMMAND ${CMAKE_COMMAND} -E touch ${share}/stamp
  DEPENDS sluice ${manual} COMMENT "Writing man pages and completions" VERBATIM)
add_custom_target(manual ALL DEPENDS ${share}/stamp)

# The first entry of the changelog tells when this version came out.
file(STRINGS ${CMAKE_SOURCE_DIR}/packaging/changelog entry REGEX "^ -- .*, [0-9]+ [A-Z][a-z]+ [0-9]+" LIMIT_COUNT 1)
string(REGEX MATCH ", ([0-9]+) ([A-Z][a-z]+) ([0-9]+) " entry "${entry}")
set(day ${CMAKE_MATCH_1})
set(year ${CMAKE_MATCH_3})
set(months Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec)
list(FIND months ${CMAKE_MATCH_2} month)
math(EXPR month "101 + ${month}")
math(EXPR day "100 + ${day}")
string(SUBSTRING ${month} 1 2 month)
string(SUBSTRING ${day} 1 2 day)
set(released ${year}-${month}-${day})
set_source_files_properties(cli/man_page.cc PROPERTIES COMPILE_DEFINITIONS "SLUICE_RELEASE_DATE=\"${released}\"")

install(TARGETS sluice DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET op_bench)
  install(TARGETS op_bench DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/sluice)
endif()
install(DIRECTORY ${CMAKE_SOURCE_DIR}/demo/model DESTINATION ${CMAKE_INSTALL_DATADIR}/sluice/demo)
install(FILES ${CMAKE_SOURCE_DIR}/demo/tasks.jsonl DESTINATION ${CMAKE_INSTALL_DATADIR}/sluice/demo)
install(DIRECTORY ${share}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${share}/completion.bash RENAME sluice DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${share}/completion.zsh RENAME _sluice DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${share}/completion.fish RENAME sluice.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES ${CMAKE_SOURCE_DIR}/packaging/copyright ${CMAKE_SOURCE_DIR}/docs/serving.md ${CMAKE_SOURCE_DIR}/packaging/changelog
        DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_SOURCE_DIR}/docs/deploy/sluice.service DESTINATION /lib/systemd/system)
install(FILES ${CMAKE_SOURCE_DIR}/packaging/sluice.toml DESTINATION /etc/sluice)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_CONTACT "Sluice maintainers <maintainers@sluice.example>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_SET_DESTDIR ON)  # the unit and the configuration lie outside the prefix
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS openmpi-bin)  # --tp alone needs it, and loads it itself
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "inference engine for language models with gated delta nets
Sluice runs checkpoints of Qwen3.5 and Qwen3.6 as they come from Hugging Face,
on a CPU, in a terminal or behind a server that speaks OpenAI's and
Anthropic's APIs. A sequence's results are the same bits however it is cut
into steps and whatever runs beside it.
.
A small demo model is included.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/postinst ${CMAKE_SOURCE_DIR}/packaging/prerm
    ${CMAKE_SOURCE_DIR}/packaging/postrm ${CMAKE_SOURCE_DIR}/packaging/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/cmake/compress.cmake)
include(CPack)
