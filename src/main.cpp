#include "regfeatd/cli/main.hpp"

int main(int argc, char** argv) { return regfeatd::cli::main(argc, argv); }
