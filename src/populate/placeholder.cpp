namespace regfeatd {}
