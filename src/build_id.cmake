# The build id: version, commit and whether the tree was clean. Made anew at each build so that it never lags behind.
add_custom_target(regfeatd_build_id
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DVERSION=${PROJECT_VERSION}
          -DOUTPUT=${PROJECT_BINARY_DIR}/generated/build_id.inc -P ${CMAKE_CURRENT_SOURCE_DIR}/write_build_id.cmake
  BYPRODUCTS ${PROJECT_BINARY_DIR}/generated/build_id.inc)
