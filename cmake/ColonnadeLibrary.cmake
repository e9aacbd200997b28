# libcolonnade, shared and static, from the objects of all library folders, and how it is installed.
include(GNUInstallDirs)

if(NOT TARGET colonnade_kvapi)
  message(STATUS "kvapi is not there yet: no libcolonnade")
  return()
endif()

set(objects "")
set(libraries "")
foreach(folder IN LISTS COLONNADE_LIBRARY_FOLDERS)
  if(TARGET colonnade_${folder})
    list(APPEND objects $<TARGET_OBJECTS:colonnade_${folder}>)
    get_property(needed TARGET colonnade_${folder} PROPERTY COLONNADE_LIBRARIES)
    list(APPEND libraries ${needed})
  endif()
endforeach()
list(APPEND libraries m)
list(REMOVE_DUPLICATES libraries)

# Public functions begin with these; what is hidden by visibility stays hidden, and C++ templates go too.
set(COLONNADE_PUBLIC_PREFIXES kvstore_ kvtable_ kvquery_ kvexpr_ kvvalue_ kvcursor_)
list(JOIN COLONNADE_PUBLIC_PREFIXES "*; " globals)
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/libcolonnade.map" CONTENT "{ global: @globals@*; local: *; };\n" @ONLY)
set(language C)
if(TARGET colonnade_vector)
  set(language CXX)
endif()

add_library(libcolonnade SHARED ${objects})
set_target_properties(libcolonnade PROPERTIES
  OUTPUT_NAME colonnade
  VERSION ${PROJECT_VERSION}
  SOVERSION 0
  LINKER_LANGUAGE ${language}
  LINK_DEPENDS "${PROJECT_BINARY_DIR}/libcolonnade.map"
  LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
target_link_options(libcolonnade PRIVATE "LINKER:--version-script,${PROJECT_BINARY_DIR}/libcolonnade.map")
target_link_libraries(libcolonnade PRIVATE ${libraries} Threads::Threads)
target_include_directories(libcolonnade INTERFACE "${PROJECT_SOURCE_DIR}/include")

# The archive holds one object whose inner names are local, so that they can meet nobody else's.
set(archive "${PROJECT_BINARY_DIR}/libcolonnade.a")
set(combined "${PROJECT_BINARY_DIR}/libcolonnade.o")
list(TRANSFORM COLONNADE_PUBLIC_PREFIXES REPLACE "(.+)" "--keep-global-symbol=\\1*" OUTPUT_VARIABLE keep)
add_custom_command(
  OUTPUT "${archive}"
  COMMAND "${CMAKE_LINKER}" -r -o "${combined}" ${objects}
  COMMAND "${CMAKE_OBJCOPY}" --localize-hidden --wildcard ${keep} "${combined}"
  COMMAND "${CMAKE_COMMAND}" -E rm -f "${archive}"
  COMMAND "${CMAKE_AR}" qcs "${archive}" "${combined}"
  COMMAND "${CMAKE_COMMAND}" -E rm -f "${combined}"
  DEPENDS ${objects}
  COMMENT "Combining the static library libcolonnade.a"
  COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(libcolonnade_archive ALL DEPENDS "${archive}")

set(libs_private "")
foreach(library IN LISTS libraries)
  string(APPEND libs_private " -l${library}")
endforeach()
string(STRIP "${libs_private} -lpthread" libs_private)
if(TARGET colonnade_vector)
  string(APPEND libs_private " -lstdc++")
endif()
# The prefix is found from where the .pc file lies, so that an installed tree may be moved.
file(RELATIVE_PATH to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" to_prefix "${to_prefix}")
configure_file(cmake/colonnade.pc.in colonnade.pc @ONLY)

# The same for CMake: find_package(colonnade).
include(CMakePackageConfigHelpers)
set(config_directory "${CMAKE_INSTALL_LIBDIR}/cmake/colonnade")
file(RELATIVE_PATH config_to_prefix "/${config_directory}" "/")
string(REGEX REPLACE "/$" "" config_to_prefix "${config_to_prefix}")
set(shared_file "libcolonnade.so.${PROJECT_VERSION}")
set(shared_soname "libcolonnade.so.0")
set(languages C)
if(TARGET colonnade_vector)
  list(APPEND languages CXX)
endif()
configure_file(cmake/colonnadeConfig.cmake.in colonnadeConfig.cmake @ONLY)
# Until 0.1.0 nothing is promised from one version to the next.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/colonnadeConfigVersion.cmake" COMPATIBILITY ExactVersion)

install(TARGETS libcolonnade LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES "${archive}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES "${PROJECT_BINARY_DIR}/colonnade.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
install(FILES "${PROJECT_BINARY_DIR}/colonnadeConfig.cmake" "${PROJECT_BINARY_DIR}/colonnadeConfigVersion.cmake"
        DESTINATION "${config_directory}")
install(DIRECTORY include/colonnade DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
