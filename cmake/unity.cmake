# keyfs_unity(<target>): with CMAKE_UNITY_BUILD (the presets that nobody edits in: release, asan, tsan),
# chooses which of a target's files are compiled together. Compiling one of our files is a
# third reading headers and a third instantiating the same templates; together they do it once.
#
# Files that define the same name in their unnamed namespaces can't be compiled together: such
# names are found at the beginnings of lines, and the files put in different groups. So nobody has
# to choose names with other files in mind. Functions of one name and other parameters are overloads,
# and no such case. A file of several programs is compiled separately.
set(KEYFS_UNITY_FILES 6 CACHE STRING "At most so many files are compiled as one, with CMAKE_UNITY_BUILD")

function(keyfs_unity target)
  if(NOT CMAKE_UNITY_BUILD)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD_MODE GROUP)
  get_target_property(sources ${target} SOURCES)
  list(LENGTH sources count)
  math(EXPR groups "(${count} + ${KEYFS_UNITY_FILES} - 1) / ${KEYFS_UNITY_FILES}")
  math(EXPR room "(${count} + ${groups} - 1) / ${groups}")
  foreach(source ${sources})
    get_source_file_property(taken ${source} UNITY_GROUP)
    if(taken)
      set_source_files_properties(${source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
      continue()
    endif()
    # Types, functions with what their parameters are, variables; members ("Foo::bar(") have no space before the name.
    execute_process(
      COMMAND sed -nE
        -e "/^(namespace|using|template|extern|\\/|#)/d"
        -e "s/^(struct|class|union|enum|enum class) ([A-Za-z0-9_]+).*/\\2/p; t"
        -e "s/^[A-Za-z][^(={\\[]*[ *&]([A-Za-z0-9_]+)( = | ?\\{|\\[|;).*/\\1/p; t"
        -e "/^[A-Za-z][^(={\\[]*[ *&][A-Za-z0-9_]+\\(/!d"
        -e "s/^[^(]*[ *&]([A-Za-z0-9_]+\\()/\\1/; s/\\).*//; s/ *[A-Za-z0-9_]+(,|$)/\\1/g; s/[^A-Za-z0-9_]+/./g; p"
        ${source}
      WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE names COMMAND_ERROR_IS_FATAL ANY)
    string(REPLACE "\n" ";" names "${names}")
    set(group 0)
    while(TRUE)
      set(clash FALSE)
      foreach(name ${names})
        if(name IN_LIST names_${group})
          set(clash TRUE)
          break()
        endif()
      endforeach()
      list(LENGTH files_${group} held)
      if(NOT clash AND held LESS room)
        break()
      endif()
      math(EXPR group "${group} + 1")
    endwhile()
    list(APPEND names_${group} ${names})
    list(APPEND files_${group} ${source})
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${target}_${group})
  endforeach()
endfunction()
