#!/usr/bin/perl
# Drops the middle of a log of which more was printed than is to be kept: shorten-log.pl FORMAT LIMIT LOG
#
# FORMAT is "docker" (the daemon's driver "local") or "cri" (containerd). LIMIT is in bytes, as the task printed them. The
# log may grow meanwhile. It keeps its size: a hole, which takes no room, is where the middle was. Beside it there is then
#
#   LOG.gap   START END BEFORE: from byte START to byte END nothing is kept, and before END the task had printed BEFORE
#             bytes. It says so before the hole is made: who reads a piece, and the gap afterwards, knows if the piece is good.
#   LOG.scan  from which size of the log on this is to be run again, and behind it what this goes on from then: lines
#             "OFFSET PRINTED", where a line of the task ends and how much was printed until there, the first of them START
#
# It is in Perl, which every Debian and Ubuntu has: a shell cannot read a binary log, nor a gigabyte.
use strict;
use warnings;

my ($format, $limit, $log) = @ARGV;
my $block_bytes = $limit / 32 > 1 << 20 ? 1 << 20 : int($limit / 32);    # at least two entries
my ($first_bytes, $last_bytes) = ($limit / 2, $limit * 3 / 8);           # the rest is for what comes until the next run
# The kubelet reads a log line by line into memory, also what is not there.
my $longest_line = 16 << 20;
my $read_block = { docker => \&read_docker, cri => \&read_cri }->{$format} or die "no format $format\n";

sub read_lines {
    my ($path) = @_;
    open(my $file, '<', $path) or return ();
    chomp(my @lines = <$file>);
    return map { [split] } @lines;
}

sub write_file {
    my ($path, $text) = @_;
    open(my $file, '>', "$path.new") or die "$path.new: $!\n";
    print $file $text;
    close($file) or die "$path.new: $!\n";
    rename("$path.new", $path) or die "$path: $!\n";
}

# Return how many bytes of a block are whole entries, how many were printed with them, and both again up to the last line
# end in it.
sub read_cri {
    my ($block) = @_;
    my $whole = rindex($block, "\n") + 1;
    my $ended = $whole;
    while ($ended) {
        my $begin = $ended > 1 ? rindex($block, "\n", $ended - 2) + 1 : 0;
        last if substr($block, $begin, $ended - $begin) =~ /^\S+ \w+ F/;
        $ended = $begin;
    }
    return ($whole, count_cri(substr($block, 0, $whole)), $ended, count_cri(substr($block, 0, $ended)));
}

sub count_cri {
    my ($lines) = @_;
    my $parts = () = $lines =~ /^\S+ \w+ P/mg;
    $lines =~ s/^\S+ \w+ [FP]\S* //mg;
    return length($lines) - $parts;
}

sub read_docker {
    my ($block) = @_;
    my ($whole, $printed, $ended, $printed_then, $length) = (0, 0, 0, 0, length $block);
    while ($whole + 8 <= $length) {
        my $size = unpack('N', substr($block, $whole, 4));
        last if $whole + 8 + $size > $length;
        # Nearly all are whole short lines: source, time of nine bytes, and the line, whose size is one byte.
        my ($time, $key, $bytes) = unpack('C3', substr($block, $whole + 21, 3));
        my $is_end = 1;
        if (substr($block, $whole + 4, 9) =~ /^\n\x06std...\x10/ && $time < 0x80 && $key == 0x1A && $size == 20 + $bytes) {
            $bytes++;
        } else {
            ($bytes, $is_end) = read_message(substr($block, $whole + 4, $size));
        }
        $whole += 8 + $size;
        $printed += $bytes;
        ($ended, $printed_then) = ($whole, $printed) if $is_end;
    }
    return ($whole, $printed, $ended, $printed_then);
}

# Return how many bytes a message of Docker stands for, and whether it ends a line: see docker_log.py.
sub read_message {
    my ($message) = @_;
    my ($at, $bytes, $is_cut) = (0, 0, 0);
    while ($at < length $message) {
        my $key = ord(substr($message, $at++, 1));
        my ($value, $shift, $byte) = (0, 0, 0x80);
        while ($byte & 0x80) {
            $byte = ord(substr($message, $at++, 1));
            $value |= ($byte & 0x7F) << $shift;
            $shift += 7;
        }
        next if ($key & 7) != 2;
        $bytes = $value if $key >> 3 == 3;
        $is_cut = substr($message, $at, $value) !~ /^\x08\x01/ if $key >> 3 == 5;
        $at += $value;
    }
    return ($bytes + !$is_cut, !$is_cut);
}

# Punches the hole, and leaves an end of a line in it here and there.
sub punch {
    my ($start, $end) = @_;
    system('fallocate', '--punch-hole', '--offset', $start, '--length', $end - $start, $log) == 0 or exit 1;
    return if $format ne 'cri';
    open(my $file, '+<', $log) or die "$log: $!\n";
    for (my $at = $start + $longest_line ; $at < $end ; $at += $longest_line) {
        sysseek($file, $at, 0);
        syswrite($file, "\n");
    }
}

my (undef, @marks) = read_lines("$log.scan");
@marks = ([0, 0]) if !@marks;
my ($offset, $printed) = @{ $marks[-1] };
open(my $file, '<', $log) or die "$log: $!\n";
while (1) {
    sysseek($file, $offset, 0);
    my $length = sysread($file, my $block, $block_bytes) or last;
    my ($whole, $bytes, $ended, $bytes_then) = $read_block->($block);
    if (!$whole) {
        die "$log: no $format log at $offset\n" if $length == $block_bytes;
        last;
    }
    # A line that is longer than a block has to be cut.
    ($ended, $bytes_then) = ($whole, $bytes) if !$ended;
    my $mark = [$offset + $ended, $printed + $bytes_then];
    # Until the first part is full, only its end is of interest.
    if (@marks == 1 && $mark->[1] <= $first_bytes) { $marks[0] = $mark }
    elsif (@marks == 1 || $mark->[1] >= $marks[-1][1] + $limit / 16) { push @marks, $mark }
    $offset += $whole;
    $printed += $bytes;
}

my $start = $marks[0][0];
my $more = $limit - $printed;
if ($printed > $limit) {
    $more = $limit / 8;
    my ($first, @others) = @marks;
    shift @others while @others > 1 && $printed - $others[0][1] > $last_bytes;
    my ($end, $before) = @{ $others[0] };
    write_file("$log.gap", "$start $end $before\n");
    punch($start, $end);
    @marks = ($first, @others);
}
$more = $limit / 64 if $more < $limit / 64;
write_file("$log.scan", join("\n", int($offset + $more), map { "@$_" } @marks) . "\n");
