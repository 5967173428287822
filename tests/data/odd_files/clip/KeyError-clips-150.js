x['0_0/no_flip']={"name": 3};
