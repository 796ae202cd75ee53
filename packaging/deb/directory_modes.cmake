# Run by cpack between installing and packing: folders are made with the umask of who builds the package, and under 077
# nobody but root could enter those of the installed package. Files have their modes from install().
file(CHMOD_RECURSE ${CPACK_TEMPORARY_INSTALL_DIRECTORY} DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
