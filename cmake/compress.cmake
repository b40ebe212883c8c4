# Run by CPack over what goes into the package: Debian's policy wants man pages and the changelog compressed.
file(GLOB pages ${CPACK_TEMPORARY_DIRECTORY}/usr/share/man/man1/*.1 ${CPACK_TEMPORARY_DIRECTORY}/usr/share/doc/sluice/changelog)
execute_process(COMMAND gzip -9n ${pages} COMMAND_ERROR_IS_FATAL ANY)
