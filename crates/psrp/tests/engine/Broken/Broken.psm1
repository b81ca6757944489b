throw 'this module does not load'
