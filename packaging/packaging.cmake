# The manual, the install tree and the Debian package.
#
#   cmake --install build/release --prefix /usr/local      for any distribution
#   cpack --config build/release/CPackConfig.cmake         regfeatd_VERSION_ARCH.deb, in the working directory
include(GNUInstallDirs)

# -- manual: regfeatd(1) and completions from the texts of --help, section 5 from docs/ -----------------------------

set(manual_dir ${PROJECT_BINARY_DIR}/manual.d)
file(MAKE_DIRECTORY ${manual_dir})
set(section ${PROJECT_SOURCE_DIR}/packaging/manual/section)
set(tail ${PROJECT_SOURCE_DIR}/packaging/manual/regfeatd.1.tail)
set(configuration_doc ${PROJECT_SOURCE_DIR}/docs/configuration.md)

find_program(LOWDOWN lowdown)
if(NOT LOWDOWN)
  message(STATUS "lowdown is not installed: no man pages of section 5")
endif()

# One page: COMMAND prints it.
function(regfeatd_man_page file)
  cmake_parse_arguments(arg "" "" "COMMAND;DEPENDS" ${ARGN})
  add_custom_command(OUTPUT ${manual_dir}/${file}.gz
    COMMAND ${arg_COMMAND} > ${manual_dir}/${file}
    COMMAND gzip -9nf ${manual_dir}/${file}
    DEPENDS ${arg_DEPENDS} VERBATIM)
  set(man_pages ${man_pages} ${manual_dir}/${file}.gz PARENT_SCOPE)
endfunction()

regfeatd_man_page(regfeatd.1 COMMAND manual man ${PROJECT_VERSION} ${tail} DEPENDS manual ${tail})
if(LOWDOWN)
  regfeatd_man_page(regfeatd.yaml.5
    COMMAND ${section} ${configuration_doc} "The daemon's configuration" regfeatd.yaml 5 "configuration of the daemon regfeatd"
    DEPENDS ${section} ${configuration_doc})
  regfeatd_man_page(regfeatd-featureset.5
    COMMAND ${section} ${configuration_doc} "Feature sets" regfeatd-featureset 5 "what regfeatd computes from what, and where it goes"
    DEPENDS ${section} ${configuration_doc})
endif()
add_custom_command(OUTPUT ${manual_dir}/regfeatd.bash ${manual_dir}/_regfeatd
  COMMAND manual bash > ${manual_dir}/regfeatd.bash
  COMMAND manual zsh > ${manual_dir}/_regfeatd
  DEPENDS manual VERBATIM)
add_custom_command(OUTPUT ${manual_dir}/changelog.gz
  COMMAND gzip -9nc ${PROJECT_SOURCE_DIR}/packaging/deb/changelog > ${manual_dir}/changelog.gz
  DEPENDS packaging/deb/changelog VERBATIM)
add_custom_target(manual_pages ALL DEPENDS ${man_pages} ${manual_dir}/regfeatd.bash ${manual_dir}/changelog.gz)

# -- install tree ---------------------------------------------------------------------------------------------------

install(TARGETS regfeatd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS generate-bars RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/regfeatd)
# /etc for the prefix /usr, as the FHS has it; PREFIX/etc elsewhere (name it then: --config, $REGFEATD_CONFIG).
install(CODE "
  if(CMAKE_INSTALL_PREFIX MATCHES \"^/usr/?$\")
    set(etc /etc)
  else()
    set(etc \${CMAKE_INSTALL_PREFIX}/etc)
  endif()
  file(INSTALL ${PROJECT_SOURCE_DIR}/config/regfeatd.yaml DESTINATION \${etc}/regfeatd)")
install(DIRECTORY config/feature_sets config/grafana config/prometheus DESTINATION ${CMAKE_INSTALL_DATADIR}/regfeatd)
install(PROGRAMS scripts/load-bars scripts/load-player-games scripts/load-latency DESTINATION ${CMAKE_INSTALL_DATADIR}/regfeatd/scripts)
install(FILES scripts/common.sh scripts/load-csv.sh scripts/load-bars.sql DESTINATION ${CMAKE_INSTALL_DATADIR}/regfeatd/scripts)
install(DIRECTORY migrations DESTINATION ${CMAKE_INSTALL_DATADIR}/regfeatd)   # to read: the program carries its own
install(DIRECTORY systemd/ DESTINATION lib/systemd/system FILES_MATCHING PATTERN "*.service")
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES packaging/deb/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${manual_dir}/changelog.gz DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(page ${man_pages})
  string(REGEX MATCH "([15])\\.gz$" matched ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${CMAKE_MATCH_1})
endforeach()
install(FILES ${manual_dir}/regfeatd.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME regfeatd)
set(REGFEATD_ZSH_COMPLETIONS ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions CACHE STRING
  "where zsh looks for completions: Debian's folder; share/zsh/site-functions elsewhere")
install(FILES ${manual_dir}/_regfeatd DESTINATION ${REGFEATD_ZSH_COMPLETIONS})

# -- package --------------------------------------------------------------------------------------------------------

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME regfeatd)
set(CPACK_PACKAGE_VENDOR "regfeatd")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "rolling quadratic-regression features of time series in PostgreSQL")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/packaging/deb/directory_modes.cmake)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# Set it where packages are published: cpack -D CPACK_DEBIAN_PACKAGE_MAINTAINER="NAME <ADDRESS>"
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "regfeatd <regfeatd@localhost>")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"A daemon that claims partitions of work from a table in PostgreSQL or
Amazon Aurora, fits quadratic regressions over rolling windows, and
publishes each partition's rows in one commit.
.
Installing it creates the system user regfeatd; it enables no service
and changes no database: see regfeatd(1).")
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, procps")   # procps: the kill of ExecReload
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "postgresql-client")   # psql: the loaders, and operating the work table
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/packaging/deb/conffiles
  ${PROJECT_SOURCE_DIR}/packaging/deb/postinst
  ${PROJECT_SOURCE_DIR}/packaging/deb/prerm
  ${PROJECT_SOURCE_DIR}/packaging/deb/postrm)
include(CPack)
