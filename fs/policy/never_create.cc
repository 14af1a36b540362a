#include "fs/policy/never_create.h"

#include <algorithm>

namespace keyfs {

std::string_view NeverCreate::default_text() {
  return  // the dynamic loader, with an empty entry in LD_LIBRARY_PATH
      "*.so *.so.* gconv-modules "
      // git: is this a bare repository?
      "HEAD "
      // make and its like
      "GNUmakefile makefile Makefile build.ninja CMakeCache.txt CMakeLists.txt CMakePresets.json "
      "CMakeUserPresets.json meson.build SConstruct Sconstruct sconstruct wscript "
      "WORKSPACE WORKSPACE.bazel MODULE.bazel REPO.bazel BUILD BUILD.bazel justfile Justfile "
      "Taskfile.yml Taskfile.yaml Jenkinsfile Procfile "
      // node, deno and bun: in each directory up to the root
      "package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml "
      "pnpm-workspace.yaml bun.lock bun.lockb bunfig.toml deno.json deno.jsonc lerna.json "
      "tsconfig.json jsconfig.json "
      // cargo, go
      "Cargo.toml Cargo.lock rust-toolchain rust-toolchain.toml rustfmt.toml clippy.toml "
      "go.mod go.sum go.work go.work.sum "
      // Python
      "pyproject.toml setup.cfg setup.py tox.ini pytest.ini pytest.toml conftest.py pyvenv.cfg "
      "Pipfile Pipfile.lock poetry.lock uv.toml uv.lock mypy.ini ruff.toml "
      // Java, PHP, Ruby, .NET and others
      "pom.xml build.xml build.gradle build.gradle.kts settings.gradle settings.gradle.kts "
      "gradle.properties composer.json composer.lock php.ini Gemfile Gemfile.lock Rakefile "
      "rakefile global.json NuGet.Config nuget.config Directory.Build.props mix.exs rebar.config "
      "stack.yaml cabal.project dune-project Package.swift pubspec.yaml build.zig flake.nix "
      "default.nix shell.nix "
      // containers and deployment
      "Dockerfile Containerfile docker-compose.yml docker-compose.yaml compose.yml compose.yaml "
      "Vagrantfile ansible.cfg "
      // editors, debuggers and profilers
      "tags TAGS GTAGS GPATH GRTAGS cscope.out cscope.files compile_commands.json "
      "compile_flags.txt a.out gmon.out perf.data "
      // libraries that read a configuration from the working directory
      "ldaprc "
      // file managers
      "autorun.inf desktop.ini Desktop.ini Thumbs.db";
}

Result<NeverCreate> NeverCreate::parse(std::string_view text) {
  constexpr std::string_view kBetween = " ,\t\n";
  NeverCreate never;
  never.text_ = text;
  if (text == "none") return never;
  while (true) {
    text.remove_prefix(std::min(text.size(), text.find_first_not_of(kBetween)));
    if (text.empty()) return never;
    const std::string_view pattern = text.substr(0, text.find_first_of(kBetween));
    text.remove_prefix(pattern.size());
    auto glob = Glob::parse(pattern);
    if (!glob) {
      return fail(Code::kInvalid, "\"" + std::string(pattern) + "\": " + glob.error().message);
    }
    never.globs_.push_back(std::move(*glob));
  }
}

bool NeverCreate::matches(std::string_view name) const {
  return std::any_of(globs_.begin(), globs_.end(),
                     [name](const Glob& glob) { return glob.matches(name); });
}

}  // namespace keyfs
