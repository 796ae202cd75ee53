#pragma once

namespace regfeatd::cli {

/// Parses the command line, runs the subcommand, turns every error into a message on stderr and an exit status:
/// 0 fine, 1 findings or failed partitions, 64 usage, 69 database not available, 78 configuration.
int main(int argc, char** argv);

}  // namespace regfeatd::cli
