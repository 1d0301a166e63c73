# cargo_library(TARGET DIRECTORY NAME): the Rust staticlib NAME in DIRECTORY (relative to the source folder) as the
# imported target TARGET, built by cargo with the versions of its Cargo.lock. Rust code is always an uninstrumented
# release build, also under sanitizers. Only one such library may be linked into a program: each brings Rust's runtime.
find_program(CARGO cargo HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin)
find_program(RUSTC rustc HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin)
set(BATON_RUST_NEEDED 1.87)
# Build trees of different presets may share it, because the result is the same.
set(BATON_CARGO_DIR ${PROJECT_BINARY_DIR}/cargo CACHE PATH "Where cargo builds")

function(cargo_library TARGET DIRECTORY NAME)
  if(NOT CARGO OR NOT RUSTC)
    message(FATAL_ERROR "cargo and rustc >= ${BATON_RUST_NEEDED} are needed; found cargo: ${CARGO}, rustc: ${RUSTC}. "
                        "On Debian 12: apt install rustc-web cargo-web")
  endif()
  execute_process(COMMAND ${RUSTC} --version OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE)
  string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" number "${version}")
  if(NOT number OR number VERSION_LESS BATON_RUST_NEEDED)
    message(FATAL_ERROR "rustc >= ${BATON_RUST_NEEDED} is needed; ${RUSTC} is '${version}'. "
                        "On Debian 12: apt install rustc-web cargo-web (from bookworm-security)")
  endif()
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/${DIRECTORY})
  set(library ${BATON_CARGO_DIR}/release/lib${NAME}.a)
  file(GLOB rust_sources CONFIGURE_DEPENDS ${source}/src/*.rs)
  add_custom_command(
    OUTPUT ${library}
    COMMAND ${CMAKE_COMMAND} -E env CARGO_TARGET_DIR=${BATON_CARGO_DIR} RUSTC=${RUSTC}
            ${CARGO} build --release --locked --lib --manifest-path ${source}/Cargo.toml
    # cargo leaves an up-to-date library alone; ninja needs a newer one.
    COMMAND ${CMAKE_COMMAND} -E touch ${library}
    DEPENDS ${source}/Cargo.toml ${source}/Cargo.lock ${rust_sources}
    WORKING_DIRECTORY ${source}
    COMMENT "cargo build ${NAME} (the first time this compiles its crates)"
    USES_TERMINAL VERBATIM)
  add_custom_target(${TARGET}_build DEPENDS ${library})
  add_library(${TARGET} STATIC IMPORTED GLOBAL)
  set_target_properties(${TARGET} PROPERTIES IMPORTED_LOCATION ${library})
  target_link_libraries(${TARGET} INTERFACE Threads::Threads ${CMAKE_DL_LIBS} m)
  add_dependencies(${TARGET} ${TARGET}_build)
endfunction()
