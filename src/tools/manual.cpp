// The man page and the shell completions, made from the texts of --help: see packaging/packaging.cmake.

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.hpp"

namespace {

using Commands = std::vector<const CLI::App*>;

Commands commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

/// Options a user may write with dashes; the positional arguments of a command are asked for apart.
std::vector<const CLI::Option*> options_of(const CLI::App& command, bool positional) {
  std::vector<const CLI::Option*> out;
  for (const CLI::Option* o : command.get_options()) {
    if (o->get_positional() == positional) out.push_back(o);
  }
  return out;
}

/// `-o`, `--output`, as they are typed.
std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> out;
  for (const std::string& s : option.get_snames()) out.push_back('-' + s);
  for (const std::string& l : option.get_lnames()) out.push_back("--" + l);
  return out;
}

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// -- man page
// -------------------------------------------------------------------------------------------------------

/// Text that troff prints as it stands: backslashes and hyphens escaped, no line that begins like a request.
std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    line_start = c == '\n';
  }
  return out;
}

/// Paragraphs of running text; lines as they stand where the text is laid out by hand (indented, or an
/// example).
void print_text(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  bool verbatim = false;
  while (std::getline(lines, line)) {
    const bool indented = line.starts_with("  ");
    if (indented != verbatim) std::cout << (indented ? ".RS 2\n.nf\n" : ".fi\n.RE\n");
    verbatim = indented;
    if (line.empty()) {
      std::cout << ".PP\n";
    } else {
      std::cout << roff(indented ? line.substr(2) : line) << '\n';
    }
  }
  if (verbatim) std::cout << ".fi\n.RE\n";
}

void print_option(const CLI::Option& option) {
  std::cout << ".TP\n";
  if (option.get_positional()) {
    std::cout << "\\fI" << roff(option.get_name(true)) << "\\fR\n";
  } else {
    std::string names;
    for (const std::string& n : names_of(option)) names += (names.empty() ? "\\fB" : ", \\fB") + roff(n) + "\\fR";
    std::cout << names;
    if (takes_value(option)) std::cout << " \\fI" << roff(option.get_type_name()) << "\\fR";
    std::cout << '\n';
  }
  std::cout << roff(option.get_description()) << '\n';
}

void print_command(const CLI::App& command) {
  std::cout << ".SS \"regfeatd " << roff(command.get_name()) << "\"\n";
  std::cout << ".B regfeatd " << roff(command.get_name()) << "\n.RI [ options ]\n";
  for (const CLI::Option* o : options_of(command, true)) std::cout << ".RI " << roff(o->get_name(true)) << '\n';
  std::cout << ".PP\n";
  print_text(command.get_description());
  for (const CLI::Option* o : options_of(command, true)) print_option(*o);
  for (const CLI::Option* o : options_of(command, false)) {
    if (o != command.get_help_ptr()) print_option(*o);
  }
  // The footer of the program comes with every command; once is enough.
  if (command.get_parent() != nullptr && command.get_footer() != command.get_parent()->get_footer()) {
    std::cout << ".PP\n";
    print_text(command.get_footer());
  }
}

int print_man(const CLI::App& app, const std::string& version, const char* tail_file) {
  std::ifstream tail(tail_file);
  if (!tail) {
    std::cerr << "manual: " << tail_file << ": cannot be read\n";
    return 1;
  }
  std::cout << ".TH REGFEATD 1 \"\" \"regfeatd " << version << "\" \"regfeatd\"\n.nh\n.ad l\n"
            << ".SH NAME\nregfeatd \\- rolling quadratic\\-regression features of time series in PostgreSQL\n"
            << ".SH SYNOPSIS\n.B regfeatd\n.I command\n.RI [ options ]\n.br\n.B regfeatd\n.I command\n.B "
               "\\-\\-help\n"
            << ".br\n.B regfeatd \\-\\-version\n.SH DESCRIPTION\n";
  print_text(app.get_description());
  std::cout << ".SH COMMANDS\n";
  for (const CLI::App* c : commands_of(app)) print_command(*c);
  std::cout << tail.rdbuf();
  return 0;
}

// -- completions
// ----------------------------------------------------------------------------------------------------

std::string words_of(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* o : options_of(command, false)) {
    for (const std::string& n : names_of(*o)) words += (words.empty() ? "" : " ") + n;
  }
  return words;
}

int print_bash(const CLI::App& app) {
  std::string commands;
  for (const CLI::App* c : commands_of(app)) commands += (commands.empty() ? "" : " ") + c->get_name();
  std::cout << "# Completion of regfeatd for bash.\n"
               "_regfeatd() {\n"
               "  local word=${COMP_WORDS[COMP_CWORD]} words\n"
               "  COMPREPLY=()\n"
               "  if ((COMP_CWORD == 1)); then\n"
            << "    words='" << commands << " " << words_of(app) << "'\n"
            << "  else\n"
               "    case ${COMP_WORDS[1]} in\n";
  for (const CLI::App* c : commands_of(app)) {
    std::cout << "      " << c->get_name() << ") words='" << words_of(*c) << "' ;;\n";
  }
  std::cout << "      *) words= ;;\n"
               "    esac\n"
               "  fi\n"
               "  # File names (-o default of complete) where nothing else fits.\n"
               "  if ((COMP_CWORD == 1)) || [[ $word == -* ]]; then mapfile -t COMPREPLY < <(compgen -W "
               "\"$words\" -- \"$word\"); fi\n"
               "}\n"
               "complete -o default -F _regfeatd regfeatd\n";
  return 0;
}

/// The first sentence or line, without what _arguments and _describe take for their own.
std::string brief(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, std::min(text.find('\n'), text.find(". ")))) {
    if (std::strchr("[]:'\\", c) == nullptr) out += c;
  }
  return out;
}

int print_zsh(const CLI::App& app) {
  std::cout << "#compdef regfeatd\n"
               "# Completion of regfeatd for zsh.\n"
               "_regfeatd() {\n"
               "  if ((CURRENT == 2)); then\n"
               "    local -a commands=(\n";
  for (const CLI::App* c : commands_of(app))
    std::cout << "      '" << c->get_name() << ':' << brief(c->get_description()) << "'\n";
  std::cout << "    )\n"
               "    _describe command commands\n"
               "    return\n"
               "  fi\n"
               "  local command=${words[2]}\n"
               "  shift words; ((CURRENT--))\n"
               "  case $command in\n";
  for (const CLI::App* c : commands_of(app)) {
    std::cout << "    " << c->get_name() << ") _arguments";
    for (const CLI::Option* o : options_of(*c, false)) {
      for (const std::string& n : names_of(*o)) {
        std::cout << " \\\n      '" << n << '[' << brief(o->get_description()) << ']';
        if (takes_value(*o)) std::cout << ":value:_files";
        std::cout << '\'';
      }
    }
    if (!options_of(*c, true).empty()) std::cout << " \\\n      '*:file:_files'";
    std::cout << " ;;\n";
  }
  std::cout << "  esac\n}\n_regfeatd \"$@\"\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app;
  regfeatd::cli::Action action;
  regfeatd::cli::add_commands(app, action);
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "man" && argc == 4) return print_man(app, argv[2], argv[3]);
  if (what == "bash" && argc == 2) return print_bash(app);
  if (what == "zsh" && argc == 2) return print_zsh(app);
  std::cerr << "Usage: manual man VERSION TAIL_FILE | manual bash | manual zsh\n";
  return 64;
}
